# docker build -t bids_sr .
# docker run --rm -v /data/study:/data:ro -v /data/out:/out bids_sr /data /out participant
#
#   --build-arg BASE=...         another base with Python >= 3.11 at /usr/local/bin/python3
#   --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130   a build for NVIDIA GPUs
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python3 -m venv /opt/venv
# Dependencies first: this layer is built again only when they change.
COPY requirements requirements
COPY pyproject.toml ./
RUN TORCH_INDEX="${TORCH_INDEX}" requirements/install_torch.sh /opt/venv/bin/python && \
    /opt/venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > dependencies.txt && \
    /opt/venv/bin/pip install -c requirements/constraints.txt -r dependencies.txt
COPY README.md LICENSE ./
COPY bids_sr bids_sr
COPY workflows workflows
RUN /opt/venv/bin/pip install --no-deps . && /opt/venv/bin/pip check

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="bids_sr" \
      org.opencontainers.image.description="Super-resolution of thick-slice clinical MRI: a BIDS-App" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/venv /opt/venv
# Weights and templates are looked for here; both may be empty.
RUN mkdir -p /opt/bids_sr/weights /opt/bids_sr/templateflow
# Any user, no HOME, read-only root: whatever a library wants to keep goes to /tmp.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    BIDS_SR_CONTAINER=docker \
    BIDS_SR_WORK_DIR=/tmp/work \
    BIDS_SR_WEIGHTS=/opt/bids_sr/weights \
    TEMPLATEFLOW_HOME=/opt/bids_sr/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=0 \
    HOME=/tmp \
    LOGNAME=bids_sr \
    MPLCONFIGDIR=/tmp/matplotlib \
    NIPYPE_CONFIG_DIR=/tmp/nipype \
    NIPYPE_NO_ET=1
WORKDIR /tmp
USER 1000:1000
ENTRYPOINT ["/opt/venv/bin/bids_sr"]
