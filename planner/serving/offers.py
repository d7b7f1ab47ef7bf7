"""What may be rented: instance types × regions × markets, at one's own prices where there are any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from planner.errors import InvalidInput, UnknownName
from planner.serving.spec import Availability, Discount, OwnPrice, RateUnit, ServingSpec
from profiles.names import KnownNames
from profiles.types import Facts, InstanceType, Market


@dataclass(frozen=True)
class Offer:
    """One instance type in one region on one market, with its price after discounts."""

    provider: str
    instance_type: str
    region: str
    market: Market
    gpu: str
    num_gpus: int
    usd_per_hour: float
    idle_w: float | None  # of the whole instance, host included; None where only rates are known
    g_co2_per_kwh: float | None

    @property
    def place(self) -> str:
        """Unique and readable."""
        return f"{self.provider}/{self.region}/{self.instance_type}/{self.market}"

    def matches(self, rule: Availability | Discount) -> bool:
        """Whether every field that the rule names is this offer's."""
        return all(
            wanted is None or wanted == own
            for wanted, own in (
                (rule.provider, self.provider),
                (rule.region, self.region),
                (rule.gpu, self.gpu),
                (rule.instance_type, self.instance_type),
                (rule.market, self.market),
            )
        )


def rentable(spec: ServingSpec, facts: Facts, names: KnownNames) -> tuple[Offer, ...]:
    """Every offer that the spec's filters let through, in a fixed order.

    Raises
    ------
    UnknownName
        A filter, price or limit names a provider, region, instance type or GPU that the store does not know.
    InvalidInput
        Nothing is left to rent.
    """
    wanted = spec.offers
    own = {(p.provider, p.instance_type, p.region, p.market): p for p in wanted.prices}
    instances = {(i.provider, i.name): i for i in facts.instances}
    grid = {(g.provider, g.region): g.g_co2_per_kwh for g in facts.grid}
    _check_names(spec, facts, wanted.prices)
    gpus = {names.gpu(name, f"offers.gpus[{i}]") for i, name in enumerate(wanted.gpus)} if wanted.gpus else None
    offers = []
    for provider, name, region, market, usd_per_hour in _prices(facts, own):
        instance = instances[provider, name]
        if (
            (wanted.providers and provider not in wanted.providers)
            or (wanted.regions and region not in wanted.regions)
            or (wanted.instance_types and name not in wanted.instance_types)
            or (gpus and instance.gpu not in gpus)
            or market not in wanted.markets
        ):
            continue
        is_own = (provider, name, region, market) in own
        offers.append(_offer(spec, grid, names, instance, region, market, usd_per_hour, own=is_own))
    if not offers and any(service.units is None for service in spec.services):
        raise InvalidInput(
            "nothing is left to rent after the filters on providers, regions, GPUs, instance types and markets",
            field="offers",
            fix="widen a filter; `gpuplan profiles list prices` shows what has a price",
        )
    return tuple(sorted(offers, key=lambda offer: (offer.gpu, offer.num_gpus, offer.usd_per_hour, offer.place)))


def given(service: str, unit: RateUnit) -> Offer:
    """The offer that a unit with given rates is by itself. Rates say nothing of power."""
    return Offer(
        "given", f"{service}/{unit.name}", "given", "on_demand", unit.gpu, unit.gpus_per_replica, unit.usd_per_hour,
        idle_w=None, g_co2_per_kwh=None,
    )  # fmt: skip


def _prices(
    facts: Facts, own: dict[tuple[str, str, str, Market], OwnPrice]
) -> Iterator[tuple[str, str, str, Market, float]]:
    """List prices, each replaced by one's own where there is one, then one's own for places without a list price."""
    listed = set()
    for price in facts.prices:
        key = (price.provider, price.instance_type, price.region, price.market)
        listed.add(key)
        yield *key, own[key].usd_per_hour if key in own else price.usd_per_hour
    for key, own_price in own.items():
        if key not in listed:
            yield *key, own_price.usd_per_hour


def _offer(
    spec: ServingSpec, grid: dict[tuple[str, str], float], names: KnownNames, instance: InstanceType, region: str,
    market: Market, usd_per_hour: float, *, own: bool,
) -> Offer:  # fmt: skip
    idle_w = (names.gpu_type(instance.gpu).idle_w + spec.host_w_per_gpu) * instance.num_gpus
    offer = Offer(
        instance.provider, instance.name, region, market, instance.gpu, instance.num_gpus, usd_per_hour, idle_w,
        grid.get((instance.provider, region)),
    )  # fmt: skip
    if own:
        return offer  # negotiated already
    for discount in spec.offers.discounts:
        if offer.matches(discount):
            usd_per_hour *= 1 - discount.fraction
    return Offer(**{**vars(offer), "usd_per_hour": usd_per_hour})


def _check_names(spec: ServingSpec, facts: Facts, prices: Iterable[OwnPrice]) -> None:
    """Every name in filters, discounts and limits must exist, or a typing mistake would silently mean 'none'."""
    known = {
        "provider": {i.provider for i in facts.instances},
        "region": {p.region for p in facts.prices} | {p.region for p in prices},
        "instance_type": {i.name for i in facts.instances},
        "gpu": {g.name for g in facts.gpus},
    }
    wanted = spec.offers
    lists = (("provider", "providers", wanted.providers), ("region", "regions", wanted.regions),
             ("instance_type", "instance_types", wanted.instance_types))  # fmt: skip
    for kind, field, values in lists:
        for i, value in enumerate(values or ()):
            _require(kind, value, known[kind], f"offers.{field}[{i}]")
    engines = {m.engine for m in facts.measurements} | {"roofline"}
    for s, service in enumerate(spec.services):
        for i, region in enumerate(service.regions or ()):
            _require("region", region, known["region"], f"services[{s}].regions[{i}]")
        for i, engine in enumerate(service.engines or ()):
            _require("engine", engine, engines, f"services[{s}].engines[{i}]")
    units = {unit.gpu for service in spec.services for unit in service.units or ()}
    known["gpu"] |= units
    rules: list[tuple[str, Availability | Discount]] = [
        *((f"limits.availability[{i}]", rule) for i, rule in enumerate(spec.limits.availability)),
        *((f"offers.discounts[{i}]", rule) for i, rule in enumerate(wanted.discounts)),
    ]
    for path, rule in rules:
        for kind in known:
            value = getattr(rule, kind)
            if value is not None:
                _require(kind, value, known[kind], f"{path}.{kind}")
    _check_priced(prices, facts, known["provider"])


def _check_priced(prices: Iterable[OwnPrice], facts: Facts, providers: set[str]) -> None:
    """Own prices are for instance types that exist; their regions may be one's own."""
    pairs = {(i.provider, i.name) for i in facts.instances}
    for i, price in enumerate(prices):
        _require("provider", price.provider, providers, f"offers.prices[{i}].provider")
        if (price.provider, price.instance_type) not in pairs:
            names = {name for provider, name in pairs if provider == price.provider}
            raise UnknownName("instance type", price.instance_type, names, field=f"offers.prices[{i}].instance_type")


def _require(kind: str, value: str, known: set[str], field: str) -> None:
    if value not in known:
        fix = f"known: {', '.join(sorted(known))}" if len(known) <= 20 else None
        what = "GPU" if kind == "gpu" else kind.replace("_", " ")
        raise UnknownName(what, value, known, field=field, fix=fix)
