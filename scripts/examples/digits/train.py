"""Train the detector of digits in the repository from scratch: make its pictures, train, measure, write.

    python scripts/examples/digits/train.py [--work digits] [--out FOLDER] [--iterations N] [--device auto]

Writes weights/digits.weights, cfg/digits.{jpg,txt} and cfg/digits_detected.jpg into FOLDER (the repository), and prints
what ``detector map`` does on 500 pictures in fonts that the network has not seen. On two CPU cores it takes about 6
minutes for 20500 pictures (420 MB in the folder --work) and 75 to 90 for 7400 iterations of 32 pictures; the network in
the repository took 88, on cores that had other work too. Stop it whenever you like: the same command goes on, and does
not train again what is trained.

Other fonts give another network. That in the repository has seen those of matplotlib and of these Debian packages
(apt-get install --no-install-recommends; each begins with fonts-), and the photographs of scikit-image, scikit-learn
and the Debian package mate-backgrounds, those from iteration 3281 on:
    3270 adf-accanthis adf-berenis adf-gillius adf-libris adf-mekanus adf-solothurn adf-switzera adf-tribun
    adf-universalis adf-verana agave allerta arapey atarismall averia-sans-gwf averia-serif-gwf b612 bebas-neue
    beteckna breip bwht cabin cantarell century-catalogue cherrybomb clear-sans cmu comfortaa comic-neue courier-prime
    croscore crosextra-caladea crosextra-carlito dancingscript dejavu-extra dkg-handwriting dosis dseg dustin
    ebgaramond-extra ecolier-court engadget eurofurence fantasma fantasque-sans femkeklaver firacode freefont-ttf
    georgewilliams glasstty gnutypewriter go hack hermit humor-sans inconsolata inter jetbrains-mono junction jura
    karla kaushanscript kristi lato league-spartan leckerli-one liberation linuxlibertine lmodern lobster lobstertwo
    manrope millimetre monofur mononoki national-park ocr-a ocr-b okolaks oldstandard open-sans opendin opendyslexic
    osifont oxygen paratype play prociono quattrocento quicksand radisnoir roadgeek roboto-slab roboto-unhinted
    routed-gothic rufscript sil-andika sil-charis sil-gentium sixtyfour sjfonts sora staypuft summersby tiresias
    tlwg-purisa-ttf tomsontalks train tuffy ubuntu-title urw-base35 vollkorn yanone-kaffeesatz
"""
from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import make_dataset
import make_picture

from darknet_py import train
from darknet_py.cfg.language import read_cfg
from darknet_py.cli import main as darknet
from darknet_py.errors import DarknetError
from darknet_py.training.events import Event, Iteration, Note, Scored

ROOT = Path(__file__).resolve().parents[3]
CFG = ROOT / "cfg/digits.cfg"
PICTURES, HELD_OUT, SEED = 16000, 500, 1


def tell(event: Event) -> None:
    if isinstance(event, Iteration) and event.iteration % 20 == 0:
        print(f"{event.iteration}/{event.last} loss {event.average:.2f}, {event.seconds:.2f} seconds an iteration, "
              f"{event.hours_left * 60:.0f} minutes left", flush=True)
    elif isinstance(event, Scored):
        print(f"mAP {event.score.value:.2%}", flush=True)
    elif isinstance(event, Note):
        print(event.text, flush=True)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("digits"), help="a folder for pictures and checkpoints")
    parser.add_argument("--out", type=Path, default=ROOT, help="the folder of cfg/ and weights/")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="to train on; default %(default)s, and a "
                        "quarter more with photographs behind")
    parser.add_argument("--iterations", type=int, help="instead of the cfg's max_batches")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(words)
    data, backup = given.work / "digits.data", given.work / "backup"
    if not data.exists():               # it is written last
        make_dataset.main([str(given.work), "--train", str(given.pictures), "--photos", str(given.pictures // 4),
                          "--valid", str(HELD_OUT), "--seed", str(SEED)])
    cfg = read_cfg(CFG)
    if given.iterations is not None:
        cfg = cfg.with_value(0, "max_batches", given.iterations)
    final = backup / "digits_final.weights"
    if not final.exists():
        train(data, cfg, evaluate=True, score_epochs=2, seed=SEED, workers=1, device=given.device, backup=backup,
              charts=given.work, on_event=tell)
    for folder in ("cfg", "weights"):
        (given.out / folder).mkdir(parents=True, exist_ok=True)
    weights, picture = given.out / "weights/digits.weights", given.out / "cfg/digits.jpg"
    shutil.copyfile(final, weights)
    make_picture.main([str(picture)])
    names = ["-names", str(given.work / "digits.names"), "-device", given.device]
    darknet(["detector", "map", str(data), str(CFG), str(weights), "-device", given.device])
    return darknet(["detect", str(CFG), str(weights), str(picture), "-pictures",
                    str(picture.with_stem("digits_detected")), *names])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DarknetError as error:
        sys.exit(f"train: {error}")
