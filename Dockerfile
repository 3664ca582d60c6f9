# A slim image of the proxy, without a compiler, pip or root. `docker build -t idk .` builds it. `make image-steps`
# executes every RUN line without a container engine and measures the installed size.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
# LOCK=requirements-litellm.lock adds the providers that do not speak OpenAI's format.
ARG LOCK=requirements.lock
# The build context has no .git, so the version is an argument: --build-arg VERSION=1.2.3.
ARG VERSION=0.1.0.dev0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY deploy/requirements.lock deploy/requirements-litellm.lock deploy/build.lock deploy/
RUN python -m venv --without-pip /opt/idk \
 && python -m pip --python /opt/idk/bin/python install --require-hashes --only-binary :all: -r "deploy/${LOCK}"
RUN python -m venv /opt/build \
 && /opt/build/bin/python -m pip install --require-hashes --only-binary :all: -r deploy/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY calibrators calibrators/
COPY gating gating/
COPY proxy proxy/
RUN SETUPTOOLS_SCM_PRETEND_VERSION="${VERSION}" /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation \
      --wheel-dir /dist . \
 && python -m pip --python /opt/idk/bin/python install --no-deps --no-index --find-links /dist idk-proxy
# Remove files that only tests, compilers and type checkers read.
RUN find /opt/idk -type d \( -name tests -o -name include -o -name f2py -o -name distutils \) -prune -exec rm -rf {} + \
 && find /opt/idk \( -name '*.pyi' -o -name '*.pyx' -o -name '*.a' \) -delete \
 && install -d -o 65532 -g 65532 /var/lib/idk

FROM python:${PYTHON_VERSION}-slim-bookworm
LABEL org.opencontainers.image.title="idk" \
      org.opencontainers.image.description="A proxy that lets a language model say \"I don't know.\"" \
      org.opencontainers.image.licenses="Apache-2.0"
# The root file system may be read-only: mount a tmpfs at /tmp, and a volume at /var/lib/idk if the store is SQLite.
ENV PATH=/opt/idk/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/idk /opt/idk
COPY --from=build --chown=65532:65532 /var/lib/idk /var/lib/idk
USER 65532:65532
WORKDIR /var/lib/idk
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/health/live', timeout=2)"]
ENTRYPOINT ["idk"]
CMD ["serve", "--config", "/etc/idk/idk.yaml", "--host", "0.0.0.0", "--port", "8080"]
