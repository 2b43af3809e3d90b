"""Small notebooks that the browser tests open beside the lessons."""

SLIDERS = """
from minipeft.course import explore, plt

def draw(r=32, scale=1.0):
    fig, ax = plt.subplots(figsize=(12, 3))
    ax.plot([0, r * scale])
    return fig, f"A line that rises to {r * scale:.1f}.", {"line": [0.0, r * scale]}

explore(draw, r=(1, 32), scale=(0.1, 10, "log"))
"""
STUCK = SLIDERS.replace("r * scale", "1.0")
FAILING = "import sys; print('a warning', file=sys.stderr); 1 / 0"

# What a lesson does, in little: a guess, a training with its bar, a slider, a quiz.
DESK = (
    "from minipeft.course import *\nhere = start('99')",
    "predict('99-share', guess=None, example=90, unit='%')",
    "reveal('99-share', 51)",
    "import torch\nfrom torch import nn\n"
    "model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9))\n"
    "ids = torch.randint(9, (2, 5))\n"
    "history = train(model, [(ids, ids)], steps=300)\n"
    "for word in track(['one', 'two'], 'words'): pass",
    SLIDERS,
    "options = {'two thin matrices': 'They are.', 'one': 'One is not enough.', 'three': 'No.'}\n"
    "quiz(Question('What is trained?', options, 'two thin matrices'))",
)
