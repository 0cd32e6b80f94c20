"""Composition of YAML files, and the checks of what they say."""

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


def test_a_delta_says_only_what_it_changes(write):
    write("base.yaml", "a: {b: 1, c: [1, 2]}\nd: 5e-4\n")
    write("more.yaml", "a: {e: 3}\nd: 2\n")
    path = write("deltas/delta.yaml", "extends: [../base.yaml, ../more.yaml]\na: {c: [3]}\n")
    assert compose(path).values == {"a": {"b": 1, "c": [3], "e": 3}, "d": 2}


def test_numbers_without_a_point_are_numbers(write):
    values = compose(write("x.yaml", "rate: 5e-4\nother: 1E-3\n"), ["rest=2e-5"]).values
    assert values == {"rate": 0.0005, "other": 0.001, "rest": 2e-05}


def test_each_key_knows_who_said_it(write):
    base = write("base.yaml", "a: {b: 1, c: 2, d: 3}\n")
    delta = write("delta.yaml", "extends: base.yaml\na: {c: 4}\n")
    composition = compose(delta, ["a.d=5"])
    where = [composition.where(("a", key)) for key in "bcd"]
    assert where == [str(base), str(delta), "the command line"]
    assert composition.where(("a", "b", "unknown")) == str(base)


def test_what_is_replaced_was_said_by_whoever_replaced_it(write):
    delta = write("delta.yaml", f"extends: {write('base.yaml', 'p: {class_path: x.A, init_args: {a: 1}}')}\np: x.B\n")
    assert compose(delta).where(("p", "class_path")) == str(delta)


def test_here_is_the_folder_of_the_file_that_says_it(write, tmp_path):
    write("one/base.yaml", "a: ${here}/x\n")
    path = write("two/delta.yaml", "extends: ${here}/../one/base.yaml\nb: ${here}/y\nc: ${a}\n")
    assert compose(path).values == {"a": f"{tmp_path}/one/x", "b": f"{tmp_path}/two/y", "c": f"{tmp_path}/one/x"}


def test_null_removes_a_callback_and_a_weight_but_is_a_value_elsewhere(write):
    write(
        "base.yaml", "callbacks: {one: {class_path: x.Y}, two: {class_path: x.Z}}\nweights: {a: f, b: g}\nmonitor: m\n"
    )
    path = write("delta.yaml", "extends: base.yaml\ncallbacks: {one: null}\nweights: {a: null}\nmonitor: null\n")
    assert compose(path).values == {"callbacks": {"two": {"class_path": "x.Z"}}, "weights": {"b": "g"}, "monitor": None}
    assert compose(path, ["callbacks.two=null"]).values["callbacks"] == {}
    with pytest.raises(
        ConfigError, match=r"callbacks\.tow \(in the command line\): there is no `tow` to remove. Did you mean `two`\?"
    ):
        compose(path, ["callbacks.tow=null"])


@pytest.mark.parametrize(
    "overrides", [["p.class_path=x.B", "p.init_args.c=3"], ["p.init_args.c=3", "p.class_path=x.B"]]
)
def test_arguments_of_a_class_that_is_replaced_go_with_it(write, overrides):
    path = write("base.yaml", "p: {class_path: x.A, init_args: {a: 1}}\n")
    assert compose(path, overrides).values == {"p": {"class_path": "x.B", "init_args": {"c": 3}}}
    assert compose(path, ["p.class_path=x.A", "p.init_args.c=3"]).values["p"]["init_args"] == {"a": 1, "c": 3}


def test_an_environment_variable_that_is_not_set(write, monkeypatch):
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    path = write("x.yaml", "a: {b: ['${oc.env:NO_SUCH_VARIABLE}/c']}\n")
    with pytest.raises(
        ConfigError, match=rf"a\.b\[0\].*NO_SUCH_VARIABLE is not set, in {path}.*export NO_SUCH_VARIABLE="
    ):
        compose(path)
    monkeypatch.setenv("NO_SUCH_VARIABLE", "/data")
    assert compose(path).values == {"a": {"b": ["/data/c"]}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: two.yaml\n", r"loop: \S+one\.yaml -> \S+two\.yaml -> \S+one\.yaml"),
        ("extends: tow.yaml\n", r"one\.yaml -> \S+tow\.yaml: .*does not exist.*Did you mean `two\.yaml`"),
        ("extends: 3\n", "expects a file"),
        ("a: [1\n", r"one\.yaml: this is not a readable YAML"),
        ("a: 1\na: 2\n", "duplicate key a"),
        ("- 1\n", "found a list"),
        ("a: ${b.c}\n", r"^a: .*'b\.c' not found, in"),
        ("a: {b: '???'}\n", r"a\.b: has no value yet.*a\.b=VALUE"),
    ],
)
def test_files_that_do_not_compose(write, text, message):
    write("two.yaml", "extends: one.yaml\n")
    with pytest.raises(ConfigError, match=message):
        compose(write("one.yaml", text))


@pytest.mark.parametrize("override", ["a", "=3", "a..b=3", "a b=3", "a=[1", "extends=x.yaml"])
def test_malformed_overrides(write, override):
    with pytest.raises(ConfigError, match="on the command line"):
        compose(write("x.yaml", "a: 1\n"), [override])


def test_a_missing_file_names_the_nearest(write, tmp_path):
    write("demo.yaml", "a: 1\n")
    with pytest.raises(ConfigError, match=r"dem\.yaml: there is no such file.*Did you mean `demo\.yaml`"):
        compose(tmp_path / "dem.yaml")


def test_the_tiny_experiment_is_completed_with_defaults():
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


def test_arguments_that_go_on_to_a_base_class_are_known():
    experiment = Experiment.read(TINY, ["model.end.class_path=tiny_task.OtherSquash", "model.end.init_args.slope=3"])
    end = experiment.module().model["end"]
    assert (type(end).__name__, end.slope, end.linear.in_features) == ("OtherSquash", 3.0, 4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("modl.width=3", r"^modl: .*takes no `modl`\. Did you mean `model`\? \(in the command line\)"),
        ("model.widht=3", r"^model\.widht: TinyTask takes no `widht`\. Did you mean `width`\?"),
        ("model.width=x", r"^model\.width: expects int, got 'x'"),
        ("model.width=1.5", r"^model\.width: expects int, got 1\.5"),
        ("model.width=null", r"^model\.width: expects int, got null"),
        ("model.kind=fanci", r"^model\.kind: expects one of plain, fancy, got 'fanci'\. Did you mean `fancy`"),
        ("model.sizes=[1,a]", r"^model\.sizes\.1: expects int, got 'a'"),
        ("model.sizes=3", r"^model\.sizes: expects list\[int\] or null, got 3"),
        ("model.speed.rat=3", r"^model\.speed\.rat: Speed takes no `rat`\. Did you mean `rate`"),
        ("model.speed.rate=-1", r"^model\.speed: Speed: rate must be above 0, got -1"),
        ("model.end=null", r"^model\.end: expects"),
        ("model.end=3", r"^model\.end: expects a class_path"),
        ("model.end.slope=3", r"^model\.end\.slope: .*Write it under `init_args`: model\.end\.init_args\.slope"),
        ("model.end.init_args.slop=3", r"^model\.end\.init_args\.slop: Squash takes no `slop`\. Did you mean `slope`"),
        ("model.end.init_args.width=3", r"^model\.end\.init_args\.width: Squash takes no `width`"),
        ("model.end.init_args.slope=x", r"^model\.end\.init_args\.slope: expects float, got 'x'"),
        ("model.end.class_path=tiny_task.Squish", r"no class `Squish`\. Did you mean `tiny_task\.Squash`"),
        (
            "model.end.class_path=tiny_taks.Squash",
            r"there is no module `tiny_taks`.*Did you mean `tiny_task\.Squash`",
        ),
        ("model.end.class_path=tiny_task.Elsewhere", r"`tiny_task\.Elsewhere` is not a Squash"),
        ("model.end.class_path=Squash", "not the dotted path"),
        ("model.end=os.system", r"^model\.end\.class_path: `os` has no class `system`"),
        ("model.end=subprocess.Popen", r"`subprocess\.Popen` is not a Squash"),
        ("model.free={x: {class_path: subprocess.Popen}}", r"^model\.free\.x: no class can be built here"),
        ("task=tiny_task.Squash", r"^task: `tiny_task\.Squash` is not a LightningModule"),
        ("task=null", "needs `task`"),
        ("data=null", "needs `data`"),
        ("data.class_path=tiny_task.TinyTask", r"`tiny_task\.TinyTask` is not a LightningDataModule"),
        ("callbacks.x.class_path=tiny_task.TinyTask", r"^callbacks\.x\.class_path: .* is not a Callback"),
        ("trainer.max_step=3", r"Did you mean `max_steps`"),
        ("trainer.logger=true", r"^trainer\.logger: the platform sets this itself"),
        ("checkpoints.every_n_steps=0", "every_n_steps must be at least 1"),
        ("weights.end=3", r"^weights\.end: expects str, got 3"),
        ("tracking.foldr=x", r"Did you mean `folder`"),
    ],
)
def test_a_wrong_key_type_or_class_names_its_place_and_the_nearest_valid_name(override, message):
    with pytest.raises(ConfigError, match=message):
        Experiment.read(TINY, [override])


def test_the_file_that_says_the_wrong_key_is_named(write):
    delta = write("delta.yaml", f"extends: {TINY}\nmodel: {{speed: {{rat: 3}}}}\n")
    with pytest.raises(ConfigError, match=rf"\(in {delta}\)"):
        Experiment.read(delta)


def test_an_abstract_part_cannot_be_built(write):
    write(
        "abstract_end.py",
        "import abc, tiny_task\nclass End(tiny_task.Squash, abc.ABC):\n    @abc.abstractmethod\n    def go(self): ...\n",
    )
    write("broken_end.py", "import no_such_package\n")
    delta = write("delta.yaml", f"extends: {TINY}\nmodel: {{end: {{class_path: abstract_end.End}}}}\n")
    Experiment.read(TINY)  # its folder becomes importable
    with pytest.raises(ConfigError, match="cannot be built: it does not define go"):
        Experiment.read(delta)
    with pytest.raises(ConfigError, match="importing broken_end failed: No module named 'no_such_package'"):
        Experiment.read(delta, ["model.end.class_path=broken_end.End"])


def test_a_missing_argument_is_named_with_its_type_where_it_has_one(write):
    write(
        "bare_end.py",
        "import tiny_task\nclass End(tiny_task.Squash):\n    def __init__(self, width, gap, size: int):\n        pass\n",
    )
    delta = write("delta.yaml", f"extends: {TINY}\nmodel: {{end: {{class_path: bare_end.py:End}}}}\n")
    Experiment.read(TINY)  # its folder becomes importable
    with pytest.raises(ConfigError, match=r"^model\.end\.init_args\.gap: End needs `gap`, and nothing gives it"):
        Experiment.read(delta)
    with pytest.raises(
        ConfigError, match=r"^model\.end\.init_args\.size: End needs `size` \(int\), and nothing gives it"
    ):
        Experiment.read(delta, ["model.end.init_args.gap=1"])
