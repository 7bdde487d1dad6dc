"""Any list of steps, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from gnomon.core.steps import (
    Audit,
    KeySplit,
    ModelRef,
    ModelStep,
    MultiModelStep,
    RandomSplit,
    Select,
    Validations,
)

MODELS = st.builds(
    lambda name, ordinal: ModelRef(
        version_id=10 * "abc".index(name) + ordinal,
        name=name,
        ordinal=ordinal,
        uuid=f"uuid-{name}-{ordinal}",
        sha256=f"{ordinal}" * 64,
    ),
    st.sampled_from("abc"),
    st.integers(1, 3),
)
RATES = st.floats(0, 1)


def several(least: int, most: int = 4) -> st.SearchStrategy[tuple[ModelRef, ...]]:
    """Return models of which no version stands twice."""
    models = st.lists(MODELS, min_size=least, max_size=most, unique_by=lambda m: m.version_id)
    return models.map(tuple)


@st.composite
def model_steps(draw: st.DrawFn) -> ModelStep:
    champion, *challengers = draw(several(1))
    return ModelStep(
        champion=champion,
        challengers=tuple(challengers),
        mode=draw(st.sampled_from(["async", "joined"])) if challengers else "async",
        shadow_wait_ms=draw(st.integers(0, 60_000)) if challengers else 1_000,
        sample=tuple(draw(RATES) for _ in challengers),
    )


@st.composite
def random_splits(draw: st.DrawFn) -> RandomSplit:
    options = draw(several(2))
    weights = [draw(st.floats(0.01, 100)) for _ in options]
    hash_key = draw(st.none() | st.just("customer"))
    return RandomSplit(weights=tuple(weights), options=options, hash_key=hash_key)


@st.composite
def key_splits(draw: st.DrawFn) -> KeySplit:
    default, *others = draw(several(2))
    texts = draw(
        st.lists(st.text(max_size=5), min_size=len(others), max_size=len(others), unique=True)
    )
    return KeySplit(
        meta_key="region", default=default, routes=dict(zip(texts, others, strict=True))
    )


MULTI_MODEL_STEPS = st.builds(MultiModelStep, members=several(2))
RUNNING = st.one_of(model_steps(), MULTI_MODEL_STEPS, random_splits(), key_splits())
TREES = st.recursive(
    st.sampled_from([{"column": "out.y"}, {"value": 1.5}, {"value": None}]),
    lambda below: st.fixed_dictionaries({"and": st.lists(below, max_size=3)}),
    max_leaves=5,
)
STEPS = st.one_of(
    RUNNING,
    st.builds(Validations, expressions=st.dictionaries(st.text(max_size=5), TREES, max_size=3)),
    st.builds(Select, index=st.integers(0, 5)),
    st.builds(Audit, start=st.integers(0, 5), end=st.none() | st.integers(0, 5)),
)
