# darknet-py in a container, which runs as a user without rights.
#
#   docker build -t darknet-py .
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" darknet-py detect my.cfg my.weights dog.jpg
#   docker run --rm -p 127.0.0.1:8080:8080 -v "$PWD:/work" darknet-py serve my.cfg my.weights -bind 0.0.0.0
#
# On Linux on x86-64, pip's PyTorch brings CUDA along: with --gpus all the image that is built above computes on a GPU.
# TORCH_INDEX takes another index of PyTorch's, such as that of its packages for the CPU alone, with which the image has
# 1.9 GB. BASE takes another image, such as NVIDIA's or PyTorch's own; a PyTorch that is in it is used.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

ARG TORCH=torch==2.13.0
ARG TORCH_INDEX=""
ARG EXTRAS=serve,video

ENV PATH=/opt/darknet/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# Ubuntu's images, such as NVIDIA's, come without Python.
# hadolint ignore=DL3008
RUN command -v python3 || { apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*; }

# What changes least comes first. A PyTorch that the base has is kept. (TORCH names the version.)
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv --system-site-packages /opt/darknet \
    && { python3 -c "import torch" || pip install ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} "${TORCH}"; }

# The dependencies are installed for a package without modules, so a change of the code installs the code alone.
WORKDIR /src
COPY setup.py pyproject.toml LICENSE ./
COPY darknet_py/utils/version.py darknet_py/utils/
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip \
    touch README.md \
    && pip install ".[${EXTRAS}]" \
    && pip uninstall --yes darknet-torch

COPY README.md ./
COPY darknet_py darknet_py
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps . \
    && rm -rf build ./*.egg-info

# Compiled models and downloads go into the home, which any user may write to.
RUN useradd --create-home --uid 10001 darknet \
    && chmod 1777 /home/darknet
ENV HOME=/home/darknet
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["darknet-py"]
CMD ["--help"]
