"""The Triton kernels of depthwise convolutions over maps that lie channels last: forward, and both ways back.

Belongs here: nothing but the kernels, for importing this needs Triton, which torch brings along where it has CUDA. When
they are used is `depthwise`.

Every kernel takes a run of positions, whatever rows or images they lie in, and a run of channels; so small maps fill
their programs too. Sizes are numbers to the compiler that it must not look into: one kernel serves all layers of one
`SIZE` and `STRIDE`. That channels come in eights is all that it is told, for then it reads eight at once.
"""

# mypy: disallow-untyped-defs=False
import triton
import triton.language as tl

SIZES = ["positions", "height", "width", "out_height", "out_width", "eighths"]


@triton.jit
def _read(values, image, row, column, height, width, channel, channels, there):
    """Return what lies at the given places, in fp32; 0 outside of the map."""
    seen = there & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    start = ((image * height + row) * width + column).to(tl.int64) * channels
    mask = seen[:, None] & (channel < channels)[None, :]
    return tl.load(values + start[:, None] + channel[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=SIZES)
def forward(
    x,
    weight,
    bias,
    out,
    positions,
    height,
    width,
    out_height,
    out_width,
    eighths,
    SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Convolve.

    Args:
        x: `[B, height, width, channels]`.
        weight: fp32 `[SIZE * SIZE, channels]`.
        bias: fp32 `[channels]`.
        out: `[B, out_height, out_width, channels]`.
        positions: `B * out_height * out_width`.
        height: Of `x`.
        width: Likewise.
        out_height: Of `out`.
        out_width: Likewise.
        eighths: Channels, divided by eight.
        SIZE: Of the kernel's side.
        STRIDE: Between positions of `x`.
        PADDING: Zeros at each side of `x`.
        BLOCK: Positions of a program.
        CHANNELS: Channels of a program.
    """
    channels = eighths * 8
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = place < positions
    image, row, column = place // (out_height * out_width), place // out_width % out_height, place % out_width
    total = tl.full((BLOCK, CHANNELS), 0.0, tl.float32)
    for i in range(SIZE):
        for j in tl.static_range(SIZE):
            y, z = row * STRIDE + (i - PADDING), column * STRIDE + (j - PADDING)
            read = _read(x, image, y, z, height, width, channel, channels, there)
            total += read * tl.load(weight + (i * SIZE + j) * channels + channel, mask=inside, other=0.0)[None, :]
    total += tl.load(bias + channel, mask=inside, other=0.0)[None, :]
    start = place.to(tl.int64) * channels
    tl.store(out + start[:, None] + channel[None, :], total, mask=there[:, None] & inside[None, :])


@triton.jit(do_not_specialize=SIZES)
def of_input(
    gradient,
    weight,
    out,
    positions,
    height,
    width,
    out_height,
    out_width,
    eighths,
    SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write the gradient of the input.

    Args:
        gradient: `[B, out_height, out_width, channels]`, of the output.
        weight: fp32 `[SIZE * SIZE, channels]`.
        out: `[B, height, width, channels]`.
        positions: `B * height * width`.
        height: Of the input.
        width: Likewise.
        out_height: Of the output.
        out_width: Likewise.
        eighths: Channels, divided by eight.
        SIZE: Of the kernel's side.
        STRIDE: Between positions of the input.
        PADDING: Zeros at each side of the input.
        BLOCK: Positions of a program.
        CHANNELS: Channels of a program.
    """
    channels = eighths * 8
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = place < positions
    image, row, column = place // (height * width), place // width % height, place % width
    total = tl.full((BLOCK, CHANNELS), 0.0, tl.float32)
    for i in range(SIZE):
        for j in tl.static_range(SIZE):
            y, z = row + (PADDING - i), column + (PADDING - j)
            # A negative number divided rounds up: it must not pass for the first row.
            meets = there & (y >= 0) & (z >= 0) & (y % STRIDE == 0) & (z % STRIDE == 0)
            read = _read(gradient, image, y // STRIDE, z // STRIDE, out_height, out_width, channel, channels, meets)
            total += read * tl.load(weight + (i * SIZE + j) * channels + channel, mask=inside, other=0.0)[None, :]
    start = place.to(tl.int64) * channels
    tl.store(out + start[:, None] + channel[None, :], total, mask=there[:, None] & inside[None, :])


@triton.jit(do_not_specialize=[*SIZES, "run"])
def of_weight(
    x,
    gradient,
    out,
    positions,
    height,
    width,
    out_height,
    out_width,
    eighths,
    run,
    SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write the gradient of one row of the kernel, summed over a run of positions.

    Nothing is added up in an order that differs from run to run.

    Args:
        x: `[B, height, width, channels]`.
        gradient: `[B, out_height, out_width, channels]`, of the output.
        out: fp32 `[runs, SIZE * SIZE, channels]`.
        positions: `B * out_height * out_width`.
        height: Of `x`.
        width: Likewise.
        out_height: Of the output.
        out_width: Likewise.
        eighths: Channels, divided by eight.
        run: Positions of a program, a multiple of `BLOCK`.
        SIZE: Of the kernel's side, 3 or 5.
        STRIDE: Between positions of `x`.
        PADDING: Zeros at each side of `x`.
        BLOCK: Positions of a step.
        CHANNELS: Channels of a program.
    """
    channels = eighths * 8
    i = tl.program_id(2)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    # One sum for each column of the kernel: Triton has no arrays of tensors.
    first = tl.full((BLOCK, CHANNELS), 0.0, tl.float32)
    second = tl.full((BLOCK, CHANNELS), 0.0, tl.float32)
    third = tl.full((BLOCK, CHANNELS), 0.0, tl.float32)
    fourth = tl.full((BLOCK, CHANNELS), 0.0, tl.float32)
    fifth = tl.full((BLOCK, CHANNELS), 0.0, tl.float32)
    for step in range(0, run, BLOCK):
        place = tl.program_id(0) * run + step + tl.arange(0, BLOCK)
        there = place < positions
        image, row, column = place // (out_height * out_width), place // out_width % out_height, place % out_width
        back = _read(gradient, image, row, column, out_height, out_width, channel, channels, there)
        y, z = row * STRIDE + (i - PADDING), column * STRIDE - PADDING
        first += back * _read(x, image, y, z, height, width, channel, channels, there)
        second += back * _read(x, image, y, z + 1, height, width, channel, channels, there)
        third += back * _read(x, image, y, z + 2, height, width, channel, channels, there)
        if SIZE == 5:
            fourth += back * _read(x, image, y, z + 3, height, width, channel, channels, there)
            fifth += back * _read(x, image, y, z + 4, height, width, channel, channels, there)
    start = out + (tl.program_id(0) * SIZE * SIZE + i * SIZE) * channels + channel
    tl.store(start, tl.sum(first, 0), mask=inside)
    tl.store(start + channels, tl.sum(second, 0), mask=inside)
    tl.store(start + 2 * channels, tl.sum(third, 0), mask=inside)
    if SIZE == 5:
        tl.store(start + 3 * channels, tl.sum(fourth, 0), mask=inside)
        tl.store(start + 4 * channels, tl.sum(fifth, 0), mask=inside)
