"""The Triton kernel of multi-scale deformable attention.

Belongs here: nothing but the kernel, for importing this needs Triton, which torch brings along where it has CUDA. When
it is used is `deformable`.
"""

# mypy: disallow-untyped-defs=False
import triton
import triton.language as tl


@triton.jit
def sample(
    value,
    levels,
    locations,
    weights,
    out,
    queries,
    length,
    HEADS: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    DEPTH: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up what each query of one head reads at all points of all levels.

    Args:
        value: `[B, length, HEADS, DEPTH]`, the levels one after the other.
        levels: int32 `[LEVELS, 3]`: height, width, first row in `value`.
        locations: `[B, queries, HEADS, LEVELS, POINTS, 2]`, x and y from 0 to 1.
        weights: `[B, queries, HEADS, LEVELS, POINTS]`.
        out: `[B, queries, HEADS, DEPTH]`.
        queries: How many there are.
        length: Rows of `value`.
        HEADS: How many there are.
        LEVELS: Likewise.
        POINTS: Of a query in a level.
        DEPTH: Numbers of a head.
        WIDE: The power of two from `DEPTH` on.
        BLOCK: Queries of a program.
    """
    image = (tl.program_id(1) // HEADS).to(tl.int64)
    head = tl.program_id(1) % HEADS
    query = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, WIDE)
    there = query < queries
    inside = channel < DEPTH
    place = (image * queries + query) * HEADS + head
    total = tl.full((BLOCK, WIDE), 0.0, tl.float32)
    for level in range(LEVELS):
        height = tl.load(levels + 3 * level)
        width = tl.load(levels + 3 * level + 1)
        first = tl.load(levels + 3 * level + 2)
        for point in range(POINTS):
            at = (place * LEVELS + level) * POINTS + point
            weight = tl.load(weights + at, mask=there, other=0.0).to(tl.float32)
            # The middle of the first cell is at half a cell, as in grid_sample without align_corners.
            x = tl.load(locations + 2 * at, mask=there, other=0.0).to(tl.float32) * width - 0.5
            y = tl.load(locations + 2 * at + 1, mask=there, other=0.0).to(tl.float32) * height - 0.5
            for corner in tl.static_range(4):
                column = tl.floor(x) + corner % 2
                row = tl.floor(y) + corner // 2
                seen = there & (column >= 0) & (column < width) & (row >= 0) & (row < height)
                share = (1 - tl.abs(x - column)) * (1 - tl.abs(y - row)) * weight
                cell = first + row.to(tl.int32) * width + column.to(tl.int32)
                start = ((image * length + cell) * HEADS + head) * DEPTH
                read = tl.load(value + start[:, None] + channel, mask=seen[:, None] & inside, other=0.0)
                total += tl.where(seen, share, 0.0)[:, None] * read.to(tl.float32)
    tl.store(out + place[:, None] * DEPTH + channel, total, mask=there[:, None] & inside)
