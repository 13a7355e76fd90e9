"""What `benchmarks.fairness` found, as a page with two pictures."""

# mypy: disable-error-code="no-untyped-call"

from itertools import accumulate
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from benchmarks.tenants import Tenant

if TYPE_CHECKING:
    from benchmarks.fairness import Found

SETTLED = 1 / 3
"""The share of a load after which it is looked at: before, the queue fills, and its capacity is learned."""
COLOURS = {
    "alone": "#555555",
    "fair queue": "#1f77b4",
    "capacity learned": "#17a2a2",
    "first come first served": "#d62728",
}


def waits(tenant: Tenant, seconds: float) -> list[float]:
    """Return the seconds to the first token of what was sent since the load had settled, in order.

    What had none at the end counts with the time that it had waited by then.
    """
    return sorted(first for sent, first in tenant.first_tokens + tenant.given_up if sent > seconds * SETTLED)


def p(percent: int, tenant: Tenant, seconds: float) -> float:
    """Return a percentile of the seconds to the first token."""
    return quantiles(waits(tenant, seconds), n=100, method="inclusive")[percent - 1]


def served(tenant: Tenant, seconds: float) -> int:
    """Return the weighted tokens of what ended since the load had settled."""
    return sum(tokens for ended, tokens in tenant.tokens if ended > seconds * SETTLED)


def pictures(found: "Found", seconds: float, folder: Path) -> None:
    """Write both pictures."""
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for way, tenant in {"alone": found.alone, **found.small}.items():
        times = waits(tenant, seconds)
        shares = [100 * (place + 1) / len(times) for place in range(len(times))]
        axes.step(times, shares, where="post", label=way, color=COLOURS[way])
    axes.set(
        xscale="log", xlabel="seconds to the first token", ylabel="% of the small tenant's requests", ylim=(0, 100)
    )
    axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(folder / "fairness-latency.svg", metadata={"Date": None})
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    for axes, way in zip(figure.subplots(1, 2, sharey=True), found.heavy, strict=True):
        for label, tenant, colour in (
            ("weight 300", found.heavy[way], "#1f77b4"),
            ("weight 100", found.light[way], "#ff7f0e"),
        ):
            ends = sorted(tenant.tokens)
            sums = list(accumulate(tokens for _, tokens in ends))
            axes.plot([ended for ended, _ in ends], [total / 1000 for total in sums], label=label, color=colour)
        axes.set(title=way, xlabel="seconds")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.axes[0].set_ylabel("thousand weighted tokens served")
    figure.savefig(folder / "fairness-weights.svg", metadata={"Date": None})


def page(found: "Found", seconds: float, setting: dict[str, float]) -> str:
    """Return what was found; `setting`: how the simulator was set."""
    base = p(95, found.alone, seconds)
    rows = [
        f"| {way} | {len(waits(tenant, seconds))} | {p(50, tenant, seconds):.2f} | {p(95, tenant, seconds):.2f} "
        f"| {p(95, tenant, seconds) / base:.2f} | {tenant.refused} "
        f"| {sum(sent > seconds * SETTLED for sent, _ in tenant.given_up)} |"
        for way, tenant in {"alone": found.alone, **found.small}.items()
    ]
    shares = []
    for way, heavy in found.heavy.items():
        one, other = served(heavy, seconds), served(found.light[way], seconds)
        shares.append(f"| {way} | {one:,} | {other:,} | {one / other:.2f} |")
    return MEASURED.format(latency="\n".join(rows), weights="\n".join(shares), seconds=seconds, **setting)


MEASURED = """\
Measured by `uv run --group plots python -m benchmarks.fairness`: the proxy as in production in front of the simulator,
which runs {capacity} requests at once, with a first token after {first_token} s and {speed:.0f} tokens a second, answers of
1 to {most} tokens; requests arrive at random times, at four times what it can take, for {seconds:.0f} seconds, of which the
first third is not counted. *First come first served* is the same proxy without a limit: the line is then vLLM's.
*Capacity learned* begins without a limit, too: what has piled up at vLLM in the seconds until it is learned has to be
served first, and most of those that waited long came then. A capacity that is set spares that.

**A small tenant beside one that sends 50 × as much.** Seconds to the small one's first token (what
had none when the load ended counts with the time that it had waited by then):

| | requests | median | p95 | p95 ÷ alone | refused | without a token at the end |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{latency}

![The small tenant's time to first token](fairness-latency.svg)

**Two tenants that each send twice what there is room for, with weights 3 : 1.** Weighted tokens served:

| | weight 300 | weight 100 | ratio |
| --- | ---: | ---: | ---: |
{weights}

![Tokens served over time](fairness-weights.svg)
"""
