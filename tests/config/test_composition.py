"""Composition of YAML files, and the check of their keys, types and classes."""

import pytest
from places import TINY

from spectron.config.composition import compose
from spectron.errors import ConfigError
from spectron.experiment.experiment import Experiment


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_delta_states_only_changes(write):
    write("base.yaml", "a: {b: 1, c: [1, 2]}\nd: 5e-4\n")
    write("more.yaml", "a: {e: 3}\nd: 2\n")
    path = write("deltas/delta.yaml", "extends: [../base.yaml, ../more.yaml]\na: {c: [3]}\n")
    assert compose(path).values == {"a": {"b": 1, "c": [3], "e": 3}, "d": 2}


def test_number_without_point_is_number(write):
    values = compose(write("x.yaml", "rate: 5e-4\nother: 1E-3\n"), ["rest=2e-5"]).values
    assert values == {"rate": 0.0005, "other": 0.001, "rest": 2e-05}


def test_origin_of_each_key(write):
    base = write("base.yaml", "a: {b: 1, c: 2, d: 3}\n")
    delta = write("delta.yaml", "extends: base.yaml\na: {c: 4}\n")
    composition = compose(delta, ["a.d=5"])
    where = [composition.where(("a", key)) for key in "bcd"]
    assert where == [str(base), str(delta), "the command line"]
    assert composition.where(("a", "b", "unknown")) == str(base)


def test_origin_of_replaced_part(write):
    delta = write("delta.yaml", f"extends: {write('base.yaml', 'p: {class_path: x.A, init_args: {a: 1}}')}\np: x.B\n")
    assert compose(delta).where(("p", "class_path")) == str(delta)


def test_here_is_folder_of_its_file(write, tmp_path):
    write("one/base.yaml", "a: ${here}/x\n")
    path = write("two/delta.yaml", "extends: ${here}/../one/base.yaml\nb: ${here}/y\nc: ${a}\n")
    assert compose(path).values == {"a": f"{tmp_path}/one/x", "b": f"{tmp_path}/two/y", "c": f"{tmp_path}/one/x"}


def test_null_removes_callback_and_weights_only(write):
    write(
        "base.yaml", "callbacks: {one: {class_path: x.Y}, two: {class_path: x.Z}}\nweights: {a: f, b: g}\nmonitor: m\n"
    )
    path = write("delta.yaml", "extends: base.yaml\ncallbacks: {one: null}\nweights: {a: null}\nmonitor: null\n")
    assert compose(path).values == {"callbacks": {"two": {"class_path": "x.Z"}}, "weights": {"b": "g"}, "monitor": None}
    assert compose(path, ["callbacks.two=null"]).values["callbacks"] == {}
    with pytest.raises(ConfigError) as raised:
        compose(path, ["callbacks.tow=null"])
    assert (raised.value.key, raised.value.origin) == ("callbacks.tow", "the command line")
    assert set(raised.value.allowed) == {"two"}


@pytest.mark.parametrize(
    "overrides", [["p.class_path=x.B", "p.init_args.c=3"], ["p.init_args.c=3", "p.class_path=x.B"]]
)
def test_new_class_drops_old_arguments(write, overrides):
    path = write("base.yaml", "p: {class_path: x.A, init_args: {a: 1}}\n")
    assert compose(path, overrides).values == {"p": {"class_path": "x.B", "init_args": {"c": 3}}}
    assert compose(path, ["p.class_path=x.A", "p.init_args.c=3"]).values["p"]["init_args"] == {"a": 1, "c": 3}


def test_unset_environment_variable(write, monkeypatch):
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    path = write("x.yaml", "a: {b: ['${oc.env:NO_SUCH_VARIABLE}/c']}\n")
    with pytest.raises(ConfigError, match="export NO_SUCH_VARIABLE=") as raised:
        compose(path)
    assert (raised.value.key, raised.value.origin) == ("a.b.0", str(path))
    monkeypatch.setenv("NO_SUCH_VARIABLE", "/data")
    assert compose(path).values == {"a": {"b": ["/data/c"]}}


@pytest.mark.parametrize(
    ("text", "key", "origin", "message"),
    [
        ("extends: two.yaml\n", "extends", "two.yaml", r"loop: \S+one\.yaml -> \S+two\.yaml -> \S+one\.yaml"),
        ("extends: tow.yaml\n", "extends", "one.yaml", r"one\.yaml -> \S+tow\.yaml\. Did you mean `two\.yaml`"),
        ("extends: 3\n", "extends", "one.yaml", "expects a file"),
        ("a: [1\n", "", "", r"one\.yaml is not a readable YAML"),
        ("a: 1\na: 2\n", "", "", "line 2, column 1: the key `a` is written twice"),
        ("- 1\n", "", "", "holds a list"),
        ("a: ${b.c}\n", "a", "one.yaml", r"'b\.c' not found"),
        ("a: {b: '???'}\n", "a.b", "one.yaml", r"has no value yet.*a\.b=VALUE"),
    ],
)
def test_bad_file_is_refused(write, text, key, origin, message):
    write("two.yaml", "extends: one.yaml\n")
    path = write("one.yaml", text)
    with pytest.raises(ConfigError, match=message) as raised:
        compose(path)
    assert (raised.value.key, raised.value.origin) == (key, origin and str(path.parent / origin))


@pytest.mark.parametrize("override", ["a", "=3", "a..b=3", "a b=3", "a=[1", "extends=x.yaml"])
def test_malformed_override_is_refused(write, override):
    with pytest.raises(ConfigError) as raised:
        compose(write("x.yaml", "a: 1\n"), [override])
    assert raised.value.origin == "the command line"


def test_missing_file_proposes_nearest(write, tmp_path):
    write("demo.yaml", "a: 1\n")
    with pytest.raises(ConfigError, match=r"Did you mean `demo\.yaml`") as raised:
        compose(tmp_path / "dem.yaml")
    assert raised.value.file == tmp_path / "dem.yaml"


def test_config_has_all_defaults():
    config = Experiment.read(TINY, ["model.speed.rate=5e-3"]).config
    assert config["model"] == {
        "end": {"class_path": "tiny_task.Squash", "init_args": {"slope": 2.0}},
        "width": 4,
        "kind": "plain",
        "speed": {"rate": 0.005, "warmup": 0},
        "sizes": None,
        "free": None,
    }
    assert config["trainer"]["max_epochs"] == -1
    assert config["checkpoints"] == {"every_n_steps": 2, "keep": 0, "monitor": "val/loss", "mode": "min"}
    assert config["data"] == {"class_path": "tiny_task.TinyData", "init_args": {"source": "numbers"}}


def test_kwargs_of_base_class_are_accepted():
    experiment = Experiment.read(TINY, ["model.end.class_path=tiny_task.OtherSquash", "model.end.init_args.slope=3"])
    end = experiment.module().model["end"]
    assert (type(end).__name__, end.slope, end.linear.in_features) == ("OtherSquash", 3.0, 4)


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        ("modl.width=3", "modl", r"Did you mean `model`\?"),
        ("model.widht=3", "model.widht", r"Did you mean `width`\?"),
        ("model.width=x", "model.width", "int, got 'x'"),
        ("model.width=1.5", "model.width", r"int, got 1\.5"),
        ("model.width=null", "model.width", "int, got null"),
        ("model.kind=fanci", "model.kind", r"one of plain, fancy, got 'fanci'\. Did you mean `fancy`"),
        ("model.sizes=[1,a]", "model.sizes.1", "int, got 'a'"),
        ("model.sizes=3", "model.sizes", r"list\[int\] or null, got 3"),
        ("model.speed.rat=3", "model.speed.rat", "Did you mean `rate`"),
        ("model.speed.rate=-1", "model.speed", "rate must be above 0, got -1"),
        ("model.end=null", "model.end", "got null"),
        ("model.end=3", "model.end", "class_path"),
        ("model.end.slope=3", "model.end.slope", r"model\.end\.init_args\.slope"),
        ("model.end.init_args.slop=3", "model.end.init_args.slop", "Did you mean `slope`"),
        ("model.end.init_args.width=3", "model.end.init_args.width", "Squash takes no `width`"),
        ("model.end.init_args.slope=x", "model.end.init_args.slope", "float, got 'x'"),
        ("model.end.class_path=tiny_task.Squish", "model.end.class_path", r"Did you mean `tiny_task\.Squash`"),
        ("model.end.class_path=tiny_taks.Squash", "model.end.class_path", r"Did you mean `tiny_task\.Squash`"),
        ("model.end.class_path=tiny_task.Elsewhere", "model.end.class_path", "is not a Squash"),
        ("model.end.class_path=Squash", "model.end.class_path", "not the dotted path"),
        ("model.end=os.system", "model.end.class_path", "`os` has no class `system`"),
        ("model.end=subprocess.Popen", "model.end.class_path", "is not a Squash"),
        ("model.free='{x: 1}'", "model.free", "got the text"),
        ("model.sizes='[1]'", "model.sizes", "got the text"),
        ("callbacks='{}'", "callbacks", "got the text"),
        ("model.free={x: {class_path: subprocess.Popen}}", "model.free.x", "no class can be built here"),
        ("task=tiny_task.Squash", "task", "is not a LightningModule"),
        ("task=null", "task", "needs `task`"),
        ("data=null", "data", "needs `data`"),
        ("data.class_path=tiny_task.TinyTask", "data.class_path", "is not a LightningDataModule"),
        ("callbacks.x.class_path=tiny_task.TinyTask", "callbacks.x.class_path", "is not a Callback"),
        ("trainer.max_step=3", "trainer.max_step", "Did you mean `max_steps`"),
        ("trainer.logger=true", "trainer.logger", "Spectron sets this itself"),
        ("checkpoints.every_n_steps=0", "checkpoints.every_n_steps", "must be at least 1"),
        ("weights.end=3", "weights.end", "str, got 3"),
        ("tracking.foldr=x", "tracking.foldr", "Did you mean `folder`"),
    ],
)
def test_wrong_value_names_key_and_nearest(override, key, message):
    with pytest.raises(ConfigError, match=message) as raised:
        Experiment.read(TINY, [override])
    assert raised.value.key == key
    assert raised.value.origin in ("the command line", str(TINY))


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("model.widht=3", {"end", "width", "kind", "speed", "sizes", "free"}),
        ("model.speed.rat=3", {"rate", "warmup"}),
        ("model.kind=fanci", {"plain", "fancy"}),
        ("model.end.init_args.slop=3", {"slope"}),
    ],
)
def test_wrong_name_lists_allowed_names(override, allowed):
    with pytest.raises(ConfigError) as raised:
        Experiment.read(TINY, [override])
    assert set(raised.value.allowed) == allowed


def test_wrong_key_names_its_file(write):
    delta = write("delta.yaml", f"extends: {TINY}\nmodel: {{speed: {{rat: 3}}}}\n")
    with pytest.raises(ConfigError) as raised:
        Experiment.read(delta)
    assert raised.value.origin == str(delta)


def test_abstract_or_broken_class_is_refused(write):
    write(
        "abstract_end.py",
        "import abc, tiny_task\nclass End(tiny_task.Squash, abc.ABC):\n"
        "    @abc.abstractmethod\n    def go(self): ...\n",
    )
    write("broken_end.py", "import no_such_package\n")
    delta = write("delta.yaml", f"extends: {TINY}\nmodel: {{end: {{class_path: abstract_end.End}}}}\n")
    Experiment.read(TINY)  # its folder becomes importable
    with pytest.raises(ConfigError, match="cannot be built: it does not define go"):
        Experiment.read(delta)
    with pytest.raises(ConfigError, match="importing broken_end failed: No module named 'no_such_package'"):
        Experiment.read(delta, ["model.end.class_path=broken_end.End"])


def test_missing_argument_is_named_with_type(write):
    write(
        "bare_end.py",
        "import tiny_task\nclass End(tiny_task.Squash):\n"
        "    def __init__(self, width, gap, size: int):\n        pass\n",
    )
    delta = write("delta.yaml", f"extends: {TINY}\nmodel: {{end: {{class_path: bare_end.py:End}}}}\n")
    Experiment.read(TINY)  # its folder becomes importable
    with pytest.raises(ConfigError, match="End needs `gap`, and nothing gives it") as raised:
        Experiment.read(delta)
    assert raised.value.key == "model.end.init_args.gap"
    with pytest.raises(ConfigError, match=r"End needs `size` \(int\), and nothing gives it") as raised:
        Experiment.read(delta, ["model.end.init_args.gap=1"])
    assert raised.value.key == "model.end.init_args.size"
