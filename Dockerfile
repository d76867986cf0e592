# Build, with CUDA (7.8 GB) or, with --build-arg CUDA=0, without it (4.0 GB):
#   docker build --build-arg GIT_COMMIT="$(git rev-parse HEAD)" -t kesikaran .
# Run in the folder that holds your mlflow.db and mlruns/, with the words of `python -m kesikaran.train`
# (leave out `--gpus all` on a machine without a GPU):
#   docker run --rm --init --gpus all --user "$(id -u):$(id -g)" \
#       -v kesikaran-cache:/cache -v "$PWD:$PWD" -w "$PWD" kesikaran experiment=debug
# The folder keeps its own path inside (-v and -w), because MLflow stores absolute artifact paths: mounted
# elsewhere, the host's `mlflow ui` would list the run and not find its artifacts. --user makes the runs yours.
# It is the image's own code and conf/ that run, whatever the mounted folder holds; options of your own:
# --config-dir=FOLDER. Data outside that folder: one more -v.
# All other commands (`kesikaran` lists them) by another entry, such as a model on a page, http://127.0.0.1:8000, and a
# folder judged by it:
#   docker run --rm --init --user "$(id -u):$(id -g)" -v kesikaran-cache:/cache -v "$PWD:$PWD" -w "$PWD" \
#       -p 127.0.0.1:8000:8000 --entrypoint kesikaran kesikaran serve RUN --host 0.0.0.0
#   docker run --rm --init --user "$(id -u):$(id -g)" -v kesikaran-cache:/cache -v "$PWD:$PWD" -w "$PWD" \
#       --entrypoint kesikaran kesikaran predict RUN photos/ --out predictions.csv
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}

# In an environment of its own, because a distribution's Python refuses pip outside one.
ENV PATH=/opt/venv/bin:$PATH
ARG CUDA=1
COPY requirements.lock /src/
# The extra takes the version that the lock pins. ldconfig: or TensorFlow does not find the wheels' libraries.
RUN set -eu; \
    python3 -m venv /opt/venv; \
    if [ "$CUDA" = 1 ]; then extra='tensorflow[and-cuda]'; else extra=; fi; \
    pip install --no-cache-dir --disable-pip-version-check -r /src/requirements.lock $extra; \
    if [ "$CUDA" = 1 ]; then \
        ls -d /opt/venv/lib/python3*/site-packages/nvidia/*/lib > /etc/ld.so.conf.d/nvidia-wheels.conf; \
        ldconfig; \
    fi

# Any user id can run it: the cache and HOME are open to all. WORKDIR is not: without a mounted folder a run
# is refused, instead of vanishing with its container.
COPY . /src
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation /src \
    && cp /src/scripts/container_check.py /opt/ \
    && rm -rf /src \
    && useradd --no-create-home --home-dir /tmp kesikaran \
    && install -d -m 1777 /cache \
    && install -d /work
# USER as a variable, because MLflow asks for the user's name and a bare uid has none.
# PYTHONSAFEPATH: or a checkout in the current folder would hide the installed package, under a wrong commit.
# GIT_PYTHON_REFRESH: or MLflow prints forty lines on the git that the image does not have.
ARG GIT_COMMIT=unknown
ENV HOME=/tmp USER=kesikaran KESIKARAN_CACHE=/cache KESIKARAN_GIT_COMMIT=${GIT_COMMIT} \
    PYTHONSAFEPATH=1 GIT_PYTHON_REFRESH=quiet PYTHONUNBUFFERED=1
VOLUME /cache
WORKDIR /work
USER kesikaran
ENTRYPOINT ["python", "/opt/container_check.py"]
