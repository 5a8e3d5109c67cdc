"""The shape of a corpus: how large its layers are, and which image has which. Pure numbers.

After the published studies of large registries: most layers are small (65 % below 1 MB) and the
rest is a heavy tail, which here is as heavy as the wanted total allows, up to a cap (at 8 MB an
image, 20 % are above 10 MB as in the studies; at the default's 0.5 MB hardly any are); a few base
images are below everything, packages in the middle are shared between repositories by popularity,
most images add one layer of their own; few repositories have many images.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import NamedTuple

FORMAT = 1
IMAGES_PER_REPOSITORY = 10
BASE_LAYERS = 4
# For each 1,000 images: base images, layers of the packages, images with a layer of their own.
BASES, PACKAGES, OWN = 5, 130, 650
SMALL_SHARE, SMALL_BOUND, SMALLEST, CAP = 0.65, 10**6, 300, 64 << 20


@dataclass(frozen=True)
class Spec:
    """What makes a corpus; the same spec is the same corpus."""

    seed: int = 0
    images: int = 5_000
    bytes: int = 2_400_000_000

    @property
    def name(self) -> str:
        return f"corpus-{FORMAT}-seed{self.seed}-{self.images}-{self.bytes}"


class Image(NamedTuple):
    """Numbers of its layers, lowest first."""

    repository: str
    tag: str
    layers: list[int]


def quantiles(count: int, total: int) -> list[int]:
    """Sizes of `count` layers in rising order, together about `total` bytes.

    Below 1 MB the shape is given (log-uniform); the tail is a capped Pareto distribution, whose
    exponent follows from the total. A total too small or too large for that scales all of them.
    """
    small = round(count * SMALL_SHARE)
    span = math.log(SMALL_BOUND / SMALLEST)
    low = [int(SMALLEST * math.exp(span * (n + 0.5) / small)) for n in range(small)]
    ranks = [1 - (n + 0.5) / (count - small) for n in range(count - small)]

    def tail(exponent: float) -> list[int]:
        return [min(CAP, int(SMALL_BOUND * rank ** (-1 / exponent))) for rank in ranks]

    light, heavy = 100.0, 0.05
    for _ in range(60):
        middle = math.sqrt(light * heavy)
        if sum(low) + sum(tail(middle)) > total:
            heavy = middle
        else:
            light = middle
    sizes = low + tail(light)
    off = total / sum(sizes)
    return sizes if abs(off - 1) < 0.02 else [max(64, int(size * off)) for size in sizes]


def layer_sizes(spec: Spec, bases: int, packages: int, own: int) -> list[int]:
    """Size of each layer by its number: those of base images first, then packages, then own.

    The lowest layer of each base image, a root file system, is one of the largest.
    """
    count = bases * BASE_LAYERS + packages + own
    sizes = quantiles(count, int(spec.bytes * 0.985))  # the rest is manifests and configs
    random.Random(f"{spec.seed}/sizes").shuffle(rest := sizes[:-bases])
    roots = sizes[-bases:]
    for number, root in enumerate(roots):
        rest.insert(number * BASE_LAYERS, root)
    return rest


def shares(total: int, parts: int, exponent: float) -> list[int]:
    """Split `total` into `parts`, each at least 1, falling like rank ** -exponent."""
    weights = [(rank + 1) ** -exponent for rank in range(parts)]
    scale = (total - parts) / sum(weights)
    counts = [1 + int(weight * scale) for weight in weights]
    for number in range(total - sum(counts)):
        counts[number % parts] += 1
    return counts


def plan(spec: Spec) -> tuple[list[Image], list[int]]:
    """All images, in the order of their pushes, and the sizes of all layers."""
    choose = random.Random(f"{spec.seed}/plan")
    bases = max(2, spec.images * BASES // 1000)
    packages = max(8, spec.images * PACKAGES // 1000)
    own = max(4, spec.images * OWN // 1000)
    sizes = layer_sizes(spec, bases, packages, own)
    first_package = bases * BASE_LAYERS
    next_own = first_package + packages
    popularity = [(rank + 1) ** -0.6 for rank in range(packages)]
    base_popularity = [(rank + 1) ** -0.8 for rank in range(bases)]

    repositories = max(1, spec.images // IMAGES_PER_REPOSITORY)
    counts = shares(spec.images, repositories, 0.75)
    with_own = set(choose.sample(range(spec.images), own))
    images: list[Image] = []
    for number, count in enumerate(counts):
        repository = f"team-{number % 23:02d}/app-{number:04d}"
        if number % 7 == 0:
            repository += "/worker"
        base = choose.choices(range(bases), base_popularity)[0]
        stack = choose.choices(range(packages), popularity, k=3)
        for version in range(count):
            if version % 12 == 11:  # now and then onto another base image
                base = choose.choices(range(bases), base_popularity)[0]
            # Each version renews one or two of its packages.
            for _ in range(choose.choice((1, 2, 2))):
                stack[choose.randrange(3)] = choose.choices(range(packages), popularity)[0]
            layers = [base * BASE_LAYERS + n for n in range(BASE_LAYERS)]
            layers += [first_package + n for n in dict.fromkeys(stack)]
            if len(images) in with_own:
                layers.append(next_own)
                next_own += 1
            images.append(Image(repository, f"1.{version}", layers))
    return images, sizes
