# The server of docs/server.md. Not built where this was written (no Docker there).
#
#   docker build -t likewise .
#   docker run -p 8000:8000 -e LIKEWISE_TOKEN=secret -v "$PWD/photos:/data:ro" likewise
#
# For NVIDIA GPUs: --build-arg TORCH=torch --build-arg INDEX= and `docker run --gpus all`.
FROM python:3.12-slim AS build
ARG TORCH=torch
ARG INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /build
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir ${INDEX:+--index-url $INDEX} "$TORCH"
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /venv/bin/pip install --no-cache-dir ".[serve]"

FROM python:3.12-slim
COPY --from=build /venv /venv
RUN useradd --create-home --uid 10001 likewise && mkdir /data && chown likewise /data
USER likewise
WORKDIR /home/likewise
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/v1/health', timeout=4)"]
# A token is needed to listen on 0.0.0.0: give LIKEWISE_TOKEN.
ENTRYPOINT ["likewise", "serve", "--host", "0.0.0.0", "--root", "/data"]
