# One image for a run on a single machine and for every node of a Ray cluster. How to use it: docs/image.md.
# This tag receives security fixes in place: to pin the base image, name it by its digest.
FROM python:3.11-slim-bookworm

# `docker run --user` may give any uid. It has no entry in passwd, so its home is set here, and writable by everyone:
# Ray keeps a token in it, and libraries their caches.
# generate.py starts its own Ray with these settings for Ray: here they apply to cluster nodes as well.
ENV HOME=/home/sysnoise \
    PATH=/app:$PATH \
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0 \
    RAY_USAGE_STATS_ENABLED=0

WORKDIR /app
RUN useradd --uid 1000 --no-create-home --home-dir "$HOME" sysnoise \
    && install -d -m 1777 "$HOME" out

# Before the code, so that a change to the code reinstalls nothing. Only wheels: nothing is compiled.
COPY requirements.txt ./
RUN pip install --no-cache-dir --only-binary :all: --root-user-action ignore -r requirements.txt

COPY . ./
LABEL org.opencontainers.image.title="SysNoise shards" \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.licenses="Apache-2.0"

# By number: Kubernetes' runAsNonRoot cannot resolve a name.
USER 1000:1000

# Finds `generate.py` in /app and `ray` beside Python, and is replaced by it, so that signals reach the program.
# KubeRay overrides both with its own command (`bash -c 'ray start …'`).
ENTRYPOINT ["/usr/bin/env"]
CMD ["generate.py", "--help"]
