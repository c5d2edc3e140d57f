# %% [markdown]
# # What did the masks change?
# Run cell by cell in VS Code or Jupyter, after `distracted demo`; or as a script: `python examples/explore.py`.
# Another data root: set DISTRACTED_DATA.

# %%
import os

import matplotlib.pyplot as plt

import distracted_pipeline as dp

root = dp.open(os.environ.get("DISTRACTED_DATA", "data/demo"))
baseline = root.settings.baseline
variant = "masks_fused"
print(root.images.groupby("subject").size())

# %% [markdown]
# Class by class: recall over all drivers, and how sure the change is.

# %%
table = root.class_accuracy.query("scope == 'oof' and variant == @variant").set_index("class_id")
print(table[["n", "recall", "delta_recall", "p_holm", "verdict"]].round(3))

# %% [markdown]
# An image that the baseline gets wrong and the variant gets right, from drivers that neither trained on.

# %%
first = "fold == 'original' and replicate == 0"  # one of the trainings
before, after = (root.predictions(name).query(first).set_index("img") for name in (baseline, variant))
mended = before.index[(before.predicted != before.true) & (after.predicted.reindex(before.index) == before.true)]
img = mended[0] if len(mended) else before.index[0]
print(f"{img}: is {before.true[img]}, {baseline} says {before.predicted[img]}, {variant} {after.predicted[img]}")

# %%
figure, axes = plt.subplots(1, 4, figsize=(14, 3))
axes[0].imshow(root.image(img))
axes[1].imshow(root.overlay(img))
axes[2].imshow(root.cam(baseline, img))
axes[3].imshow(root.cam(variant, img))
for axis, title in zip(axes, ("image", "mask", baseline, variant), strict=True):
    axis.set_title(title)
    axis.axis("off")
plt.show()

# %% [markdown]
# Taps are the frozen backbone's activations, cached once per image; a probe of your own takes seconds.

# %%
pooled = root.taps(["pooled"], list(before.index))["pooled"]
print(pooled.shape, pooled.dtype)
