"""Code that loads each format without this project, as it is shown to users.

`ONNX` and `TORCH_EXPORT` are also executed when the files are checked. Each example starts in the folder of the
exported files with `chips`, a float32 array (n, bands, side, side), and sets `logits` (n, J, K) and `probabilities`
(n, K).
"""

from __future__ import annotations

ONNX = """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
logits, probabilities = session.run(None, {"chips": chips})
"""

TORCH_EXPORT = """\
import torch

model = torch.export.load("model.pt2").module()
logits, probabilities = (output.numpy(force=True) for output in model(torch.from_numpy(chips)))
"""

_TERRATORCH = """\
import json
import torch, yaml
from pathlib import Path
from safetensors.torch import load_file
from terratorch.tasks import ClassificationTask

task = ClassificationTask(**yaml.safe_load(open("terratorch.yaml"))["model"]["init_args"]).eval()
config = json.loads(Path("MODEL/config.json").read_text())
task.model.load_state_dict({k: v for file in config["weights"] for k, v in load_file(file).items()})
mean, std = (torch.tensor(config[key]).reshape(-1, 1, 1) for key in ("mean", "std"))
logits = task.model((torch.from_numpy(chips) - mean) / std).output
"""


def terratorch(model: str) -> str:
    """Return the example of TerraTorch, which sets no `probabilities`: it is of one model, whose input is normalised.

    Args:
        model: folder of the model, such as `models/seed-0`.
    """
    return _TERRATORCH.replace("MODEL", model)
