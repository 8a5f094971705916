"""Batch inference by Ray: the verb's engine, and DetectorActor in a pipeline of Ray Data."""
import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from batch_runs import CFG, WEIGHTS, crops, encoded, expected, manifest, pictures, table, words

from darknet_py.errors import DarknetError
from darknet_py.scale import DetectorActor
from darknet_py.scale.ray_workers import Node, cpus_of

OPTIONS = {"thresh": .24, "device": "cpu", "backend": "pytorch"}


def rows_of(found):
    return [(row["boxes"], row["scores"], row["labels"]) for row in found.to_pylist()]


def test_batches_of_ray():
    """Pictures as bytes, as arrays in RGB, as paths; other columns stay."""
    actor = DetectorActor(CFG, WEIGHTS, **OPTIONS)
    data = np.array([*encoded(3), b"no picture"], object)
    found = actor({"bytes": data, "path": np.array(["a", "b", "c", "d"]), "key": np.arange(4)})
    assert found.column_names == ["path", "key", "width", "height", "boxes", "scores", "labels", "names", "seconds",
                                  "error"]
    assert rows_of(found)[:3] == expected(crops(3)) and found["key"].to_pylist() == [0, 1, 2, 3]
    assert found["error"].to_pylist()[:3] == [None] * 3 and "d: not an image" in found["error"][3].as_py()
    found = actor({"image": np.stack(crops(3))[..., ::-1], "key": np.arange(3)})
    assert rows_of(found) == expected(crops(3)) and "image" not in found.column_names


def test_paths_and_other_columns(workdir):
    paths = pictures("pics", 2)
    actor = DetectorActor(CFG, WEIGHTS, column="file", batch=2, **OPTIONS)
    found = actor({"file": np.array(paths)})
    assert found["file"].to_pylist() == paths and found["width"].to_pylist() == [200, 200]
    with pytest.raises(Exception, match="expected a column file, found files"):
        actor({"files": np.array(paths)})


@pytest.mark.parametrize(("nodes", "workers", "gpus", "cpus"), [
    ([(8, 0), (4, 0)], 2, 0, 4), ([(8, 0), (4, 0)], 3, 0, 4), ([(8, 0), (4, 0)], 12, 0, 1),
    ([(8, 2), (64, 0)], 2, 1, 4), ([(8, 1)], 2, .5, 4), ([(4, 0)], 5, 0, None), ([(8, 1)], 2, 1, None)])
def test_cpus_of_workers(nodes, workers, gpus, cpus):
    nodes = [Node(*node) for node in nodes]
    if cpus is None:
        with pytest.raises(DarknetError, match="find no place"):
            cpus_of(nodes, workers, gpus)
    else:
        assert cpus_of(nodes, workers, gpus) == cpus


@pytest.fixture(scope="module")
def ray():
    """Ray on this machine alone, within bounds. It is not imported before, see ``connected``."""
    if find_spec("ray") is None:
        pytest.skip("needs Ray")
    from darknet_py.scale.ray_workers import connected
    with connected(2) as started:
        yield started


def test_it_is_reached_from_this_machine_alone(ray):
    assert ray.get_runtime_context().gcs_address.startswith("127.0.0.1:")
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]


def test_the_engine_ray(workdir, cli, ray):
    paths = pictures("pics", 10)
    Path(paths[4]).write_bytes(b"no picture")
    assert cli(*words("pics", out="alone", part=2))[0] == 0
    code, out, err = cli(*words("pics", part=2), "-engine", "ray", "-workers", "2")
    assert code == 0 and out.startswith("out: 10 pictures, 1 of them cannot be read"), err
    assert table() == table("alone") and manifest()["backend"] == "pytorch"
    os.unlink("out/manifest.json")
    os.unlink("out/parts/part-000003.parquet")
    assert cli(*words("pics", part=2), "-engine", "ray")[0] == 0 and table() == table("alone")
    code, _, err = cli(*words("pics", out="more"), "-engine", "ray", "-gpus_per_worker", "1", "-workers", "2")
    assert code == 1 and "2 workers with -gpus_per_worker 1 find no place; the machines have CPUs and GPUs: " in err


def test_a_mistake_in_a_worker(workdir, cli, ray):
    pictures("pics", 2)
    Path("few.names").write_text("a\nb\n")
    code, _, err = cli(*words("pics"), "-engine", "ray", "-names", os.path.abspath("few.names"))
    assert code == 1 and err.count("\n") == 1 and "needs 10 names" in err


def test_ray_data(workdir, ray):
    pytest.importorskip("pandas")
    paths = pictures("pics", 6)
    ray.data.DataContext.get_current().enable_progress_bars = False
    found = ray.data.read_binary_files(os.path.abspath("pics"), include_paths=True).map_batches(
        DetectorActor, fn_constructor_args=(CFG, WEIGHTS), fn_constructor_kwargs=OPTIONS, concurrency=1, batch_size=4)
    rows = {os.path.relpath(row["path"]): row for row in found.take_all()}
    assert sorted(rows) == paths and "bytes" not in rows[paths[0]]
    assert [([*map(list, rows[path]["boxes"])], list(rows[path]["scores"]), list(rows[path]["labels"]))
            for path in paths] == expected(crops(6))
    assert json.dumps(rows[paths[0]]["names"]) == json.dumps([str(label) for label in rows[paths[0]]["labels"]])
