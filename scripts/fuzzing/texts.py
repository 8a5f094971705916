"""Valid inputs that are text: cfgs, labels, lists, annotations in every format, and words of command lines."""

TINY = """[net]
batch=2
width=16
height=16
channels=3
max_batches=4
burn_in=0

[convolutional]
batch_normalize=1
filters=4
size=3
stride=4
pad=1
activation=leaky

[convolutional]
filters=14
size=1
activation=linear

[yolo]
mask=0,1
anchors=3,3, 6,6
classes=2
num=2
"""
REGION = """[net]
width=4
height=4
channels=3
[convolutional]
filters=10
size=1
[region]
anchors=1,1
classes=5
num=1
softmax=1
tree=input.tree
"""
CFGS = (TINY, """# a classifier
[net]
width=8
height=8
channels=3
policy=steps
steps=100,200
scales=.1,.1
[conv]
filters=4
size=3
stride=2
pad=1
activation=mish
[conv]
filters=8
groups=2
[maxpool]
size=2
stride=2
[reorg3d]
stride=2
[dropout]
probability=.5
[upsample]
stride=2
[crop]
crop_width=2
crop_height=2
[local]
filters=2
size=3
pad=1
[avgpool]
[softmax]
groups=1
""", """[net]
width=8
height=8
channels=4
[convolutional]
filters=4
size=3
pad=1
antialiasing=1
stride=2
[convolutional]
filters=4
share_index=-1
size=3
pad=1
[route]
layers=-1,-2
groups=2
group_id=1
[shortcut]
from=-2
weights_type=per_feature
weights_normalization=softmax
[sam]
from=-2
[avgpool]
[scale_channels]
from=-2
[implicit]
filters=4
[Gaussian_yolo]
anchors=1,2
mask=0
classes=1
num=1
""", """[net]
inputs=4
batch=2
time_steps=2
[rnn]
hidden=3
output=4
[gru]
output=4
[lstm]
output=3
batch_normalize=1
[connected]
output=75
activation=logistic
[detection]
side=1
num=2
coords=4
classes=65
""", """[net]
width=4
height=4
channels=2
[crnn]
hidden=2
output=2
pad=1
size=3
[conv_lstm]
output=2
pad=1
size=3
peephole=1
[deconvolutional]
filters=2
size=2
stride=2
[l2norm]
[normalization]
alpha=.001
[activation]
activation=relu
[batchnorm]
[conv]
filters=4
[reorg]
stride=2
[conv]
filters=8
[region]
coords=4
classes=3
num=1
""")
DATA = b"classes = 2\ntrain = list.txt\nvalid = list.txt\nnames = tiny.names\nbackup = backup/\neval = coco\ntop = 1\n"
LABELS = (b"0 0.5 0.5 0.25 0.25\n1 .25 .75 .5 .5\n", b"1 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9\n",
          b"0 .5 .5 .2 .2 0.5 0.5 2 0.6 0.6 1\n")
COCO = {"info": {}, "images": [{"id": 1, "file_name": "a.png", "width": 24, "height": 20},
                               {"id": 2, "file_name": "b.png", "width": 24, "height": 20}],
        "categories": [{"id": 1, "name": "light", "supercategory": "shade"}, {"id": 5, "name": "dark"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 8, 9.5], "area": 76, "iscrowd": 0},
                        {"id": 2, "image_id": 2, "category_id": 5, "bbox": [0, 0, 20, 12], "iscrowd": 1,
                         "segmentation": [[0, 0, 20, 0, 20, 12]]},
                        {"id": 3, "image_id": 2, "category_id": 5, "bbox": [4, 4, 6, 6]}]}
VOC = b"""<annotation><folder>x</folder><filename>input.png</filename>
<size><width>24</width><height>20</height><depth>3</depth></size>
<object><name>light</name><difficult>0</difficult><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>15</ymax>
</bndbox></object>
<object><name>dark</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>24</xmax><ymax>20</ymax>
</bndbox></object>
</annotation>
"""
CVAT = b"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels><label><name>light</name></label><label><name>dark</name></label>
</labels></task></meta>
<image id="0" name="a.png" subset="Train" width="24" height="20">
<box label="light" xtl="2.0" ytl="3.0" xbr="10.5" ybr="12.0" occluded="0" rotation="30.0"></box>
<polygon label="dark" points="1.0,2.0;20.0,3.0;10.0,15.5"></polygon></image>
<image id="1" name="b.png" subset="Validation" width="24" height="20">
<ellipse label="light" cx="10" cy="10" rx="4" ry="3"></ellipse>
<mask label="dark" rle="3, 4, 5" left="2" top="2" width="4" height="3"></mask>
<points label="dark" points="1.0,2.0"></points></image>
</annotations>
"""
YAML = (b"path: .\ntrain: list.txt\nval: [list.txt, pictures]\nnc: 2\nnames: [light, dark]\n",
        b"train: pictures\nval: list.txt\nnames:\n  0: light\n  1: dark\nkpt_shape: [2, 3]\nx: &a [1]\ny: *a\n")
LOG = (b'{"iteration": 1, "loss": 2.5, "avg_loss": 2.5, "rate": 0.001, "seconds": 0.5, "data_seconds": 0, '
       b'"images": 4, "16 iou": 0.5}\n{"iteration": 2, "loss": null}\n'
       b'{"iteration": 2, "score": 0.5, "best": 0.5, "measure": "mAP"}\n')
MANIFEST = {"about": "x", "files": {"a.weights": {
    "urls": ["https://example.org/a.weights"], "bytes": 100, "sha256": ["0" * 64], "cfg": "a.cfg", "layers": 137,
    "figures": [{"size": 416, "AP": 41.2, "AP50": 62.8, "FPS": 38}]}}}
TREE = b"animal -1\nthing -1\ncat 0\ndog 0\npug 3\n"
WORDS = {"edit": (b"net.width=32\nyolo.classes=3", b"1.filters=14\nconvolutional[0].size=1\nnet.burn_in=",
                  b"yolo[-1].anchors=1,2,3,4"),
         "new": (b"2\n416x320\n8", b"80\n608\n.5"), "dataset": (b".8\nlight=lamp,dark=\n0",),
         "calc_anchors": (b"2\n16\n32",), "info": (b"32\n64",), "detect": (b".25\n.45\n.5",),
         "map": (b".5\n11\n.25\n.45",), "partial": (b"2",), "visualize": (b"0",), "params": (b"jitter\nlearning_rate",)}
