# One image for a run on one machine and for every node of a Ray cluster. How to use it: docs/image.md.
# The tag gets security fixes in place: for a base that stays as it is, name it by its digest.
FROM python:3.11-slim-bookworm

# Any uid may be given with `docker run --user`. It has no line in passwd, so its home is named here, and open to all:
# Ray keeps a token in it, libraries their caches.
# The settings for Ray are those that generate.py starts its own Ray with: here they hold for cluster nodes as well.
ENV HOME=/home/sysnoise \
    PATH=/app:$PATH \
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0 \
    RAY_USAGE_STATS_ENABLED=0

WORKDIR /app
RUN useradd --uid 1000 --no-create-home --home-dir "$HOME" sysnoise \
    && install -d -m 1777 "$HOME" out

# Before the code, so that a change to the code installs nothing again. Wheels alone: nothing is compiled.
COPY requirements.txt ./
RUN pip install --no-cache-dir --only-binary :all: --root-user-action ignore -r requirements.txt

COPY . ./
LABEL org.opencontainers.image.title="SysNoise shards" \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.licenses="Apache-2.0"

# By number: Kubernetes' runAsNonRoot cannot tell what a name stands for.
USER 1000:1000

# Finds `generate.py` in /app and `ray` beside Python, and becomes it: signals reach the program itself.
# KubeRay puts its own command (`bash -c 'ray start …'`) in the place of both.
ENTRYPOINT ["/usr/bin/env"]
CMD ["generate.py", "--help"]
