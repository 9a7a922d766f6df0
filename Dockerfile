# docker build -t bids_sr .
# docker run --rm -v /data/study:/data:ro -v /data/out:/out bids_sr /data /out participant
#
#   --build-arg BASE=...         another base: Debian's or a similar C library, Python >= 3.11
#   --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130   a build for NVIDIA GPUs
#   --build-arg WEIGHTS=hd-bet   weights to carry along, checked by their SHA-256;
#                                from container/opt, or --build-arg OPT_FROM=https://mirror
#   --target test -t bids_sr:test    then `docker run --rm bids_sr:test`: the tests, in the image
#
# docs/how-to/run-in-containers.md explains each of them.
ARG BASE=python:3.11-slim-bookworm

# --- what is installed ---------------------------------------------------------------------
FROM ${BASE} AS build
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# Dependencies first: this layer is built again only when they change.
COPY requirements requirements
COPY pyproject.toml ./
RUN TORCH_INDEX="${TORCH_INDEX}" requirements/install_locked.sh /opt/venv
COPY README.md LICENSE ./
COPY bids_sr bids_sr
COPY workflows workflows
RUN /opt/venv/bin/python -m pip install --no-deps . && \
    /opt/venv/bin/python -m pip check
# Weights and templates go below /opt/bids_sr; by default there are none, and none are needed.
ARG WEIGHTS=
ARG TEMPLATES=
ARG OPT_FROM=container/opt
COPY container container
RUN /opt/venv/bin/python container/install_opt.py /opt/bids_sr \
        --weights "${WEIGHTS}" --templates "${TEMPLATES}" --source "${OPT_FROM}"
RUN container/slim.sh /opt/venv

# --- the image -----------------------------------------------------------------------------
FROM ${BASE} AS runtime
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/bids_sr /opt/bids_sr
# Any user, no HOME, read-only root: whatever a library wants to keep goes to /tmp.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    OMP_WAIT_POLICY=PASSIVE \
    BIDS_SR_CONTAINER=docker \
    BIDS_SR_WORK_DIR=/tmp/work \
    BIDS_SR_WEIGHTS=/opt/bids_sr/weights \
    TEMPLATEFLOW_HOME=/opt/bids_sr/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=0 \
    HOME=/tmp \
    LOGNAME=bids_sr \
    NIPYPE_NO_ET=1
WORKDIR /tmp
USER 1000:1000
ENTRYPOINT ["/opt/venv/bin/bids_sr"]

# --- the tests in the image (`--target test`) ----------------------------------------------
FROM runtime AS test
USER 0:0
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/pip && \
    /opt/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir \
        -c requirements/constraints.txt pip setuptools pytest pytest-xdist hypothesis && \
    chmod -R a+rwX /src
USER 1000:1000
# What is tested is the installed package, so nothing is imported from the working folder.
ENTRYPOINT ["/usr/bin/env", "PYTHONSAFEPATH=1", "/opt/venv/bin/pytest"]
# Nothing is installed anew here, which is what test_packaging.py looks at.
CMD ["-m", "not slow and not gpu and not weights and not container and not cluster", \
     "--ignore=tests/test_packaging.py"]

# --- and its labels, last: this is what `docker build` makes -------------------------------
FROM runtime
ARG VERSION=0.1.0
ARG REVISION=
ENV BIDS_SR_DOCKER_TAG="bids_sr:${VERSION}"
LABEL org.opencontainers.image.title="bids_sr" \
      org.opencontainers.image.description="Super-resolution of thick-slice clinical MRI: a BIDS-App" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
