"""Code that loads each format without this project; it is shown to users, and executed when the files are checked.

Each example starts in the folder of the exported files with `chips`, a float32 array (n, bands, side, side), and sets
`logits` (n, J, K) and `probabilities` (n, K).
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

# Without `probabilities`: one model of the ensemble, whose input is normalised.
TERRATORCH = """\
import json
import torch, yaml
from pathlib import Path
from safetensors.torch import load_file
from terratorch.tasks import ClassificationTask

task = ClassificationTask(**yaml.safe_load(open("terratorch.yaml"))["model"]["init_args"]).eval()
config = json.loads(Path("models/seed-0/config.json").read_text())
task.model.load_state_dict({k: v for file in config["weights"] for k, v in load_file(file).items()})
mean, std = (torch.tensor(config[key]).reshape(-1, 1, 1) for key in ("mean", "std"))
logits = task.model((torch.from_numpy(chips) - mean) / std).output
"""
