"""`distracted masks …`: look at the mask cache, take it out, put other masks in, sweep old ones."""

from pathlib import Path

import click

from distracted_pipeline.commands.common import Listed, current_settings, data_option, indented


def _picture(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """Return the path of a picture to write, or say at once that its ending is none of a picture's."""
    from PIL import Image

    if path is not None and Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise click.BadParameter(f"{path} does not end as a picture does; name it {path.with_suffix('.png').name}.")
    return path


@click.group(cls=Listed)
def masks() -> None:
    """Look at the mask cache, take it out, put other masks in, sweep old ones."""


@masks.command("show")
@click.argument("img")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_picture,
    help="PNG to write; default IMG.overlay.png.",
)
@data_option
def masks_show(img: str, out: Path | None) -> None:
    """Write a frame with its mask drawn over it."""
    from distracted_pipeline.masks.overlays import show

    target = out or Path(f"{Path(img).stem}.overlay.png")
    show(current_settings(), img).save(target)
    click.echo(f"wrote {target.resolve()}")


@masks.command("sheet")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_picture,
    default=Path("masks.png"),
    show_default=True,
)
@data_option
def masks_sheet(out: Path) -> None:
    """Write a contact sheet: one overlay of each driver."""
    from distracted_pipeline.masks.overlays import sheet

    sheet(current_settings()).save(out)
    click.echo(f"wrote {out.resolve()}")


@masks.command("export")
@click.option("--npz", type=click.Path(path_type=Path, file_okay=False), help="Folder of <img>.jpg.npz files.")
@click.option("--png", type=click.Path(path_type=Path, file_okay=False), help="Folder of <img>.jpg.png files.")
@click.option("--panoptic", type=click.Path(path_type=Path, file_okay=False), help="Folder of a COCO panoptic export.")
@click.option("--instances", type=click.Path(path_type=Path, dir_okay=False), help="COCO JSON with run lengths.")
@click.option(
    "--fiftyone",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for FiftyOne: labelled frames, masks, labels, and each variant's answers.",
)
@data_option
def masks_export(
    npz: Path | None, png: Path | None, panoptic: Path | None, instances: Path | None, fiftyone: Path | None
) -> None:
    """Write every mask for other tools: category ids (0 for none) as NPZ or PNG, or as COCO has them.

    Croissant metadata goes beside. A killed export goes on with the same command.

    The folder for FiftyOne holds the frames too: as hard links, which take no space, but frames that lie in a zip are
    written out (State Farm's: 1 GB).
    """
    from distracted_pipeline.masks import exports

    targets = (npz, png, panoptic, instances)
    if not any((*targets, fiftyone)):
        raise click.UsageError("Say where to: --npz, --png, --panoptic, --instances or --fiftyone.")
    settings = current_settings()
    writers = (exports.export_npz, exports.export_png, exports.export_panoptic, exports.export_instances)
    for path, export in zip(targets, writers, strict=True):
        if path is not None:
            click.echo(f"{export(settings, path, log=indented):,} masks in {path}")
    if fiftyone is not None:
        from distracted_pipeline.serving.fiftyone_folder import export_fiftyone

        click.echo(f"{export_fiftyone(settings, fiftyone, log=indented):,} frames in {fiftyone}. In Python:")
        click.echo(f"  fiftyone.Dataset.from_dir({str(fiftyone)!r}, dataset_type=fiftyone.types.FiftyOneDataset)")


@masks.command("import")
@click.option("--npz", type=click.Path(path_type=Path, file_okay=False), help="Folder of <img>.jpg.npz files.")
@click.option("--panoptic", type=click.Path(path_type=Path, file_okay=False), help="Folder of a COCO panoptic export.")
@data_option
def masks_import(npz: Path | None, panoptic: Path | None) -> None:
    """Take masks from files into a cache of their own."""
    from distracted_pipeline.masks.exchange import import_npz, import_panoptic

    settings = current_settings()
    if npz is not None and panoptic is None:
        taken = import_npz(settings, npz, log=indented)
    elif panoptic is not None and npz is None:
        taken = import_panoptic(settings, panoptic, log=indented)
    else:
        raise click.UsageError("Say where from: --npz or --panoptic.")
    results = taken.values()
    failed = sum(len(result.failed) for result in results)
    click.echo(f"{sum(result.done for result in results):,} masks taken, {failed:,} images without one")


@masks.command("gc")
@click.option("--delete", is_flag=True, help="Really delete; without it, only say what would go.")
@data_option
def masks_gc(delete: bool) -> None:
    """Find the caches of segmenters that are no longer in force."""
    from distracted_pipeline.masks.exchange import collect_garbage

    old = collect_garbage(current_settings(), delete=delete)
    for cache in old:
        click.echo(f"{'deleted' if delete else 'old'}  {cache.bytes / 2**20:8.1f} MiB  {cache.segmenter}  {cache.path}")
    if not old:
        click.echo("nothing old")
    elif not delete:
        click.echo("delete them with: distracted masks gc --delete")
