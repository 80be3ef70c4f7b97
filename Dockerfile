# The page and its API: docs/service.md.
#
#   docker build -t atvg .                                 on the CPU
#   docker build -t atvg --build-arg ACCELERATOR=cuda .    on NVIDIA GPUs, whose libraries come with JAX
#   docker run --rm -p 127.0.0.1:7860:7860 -e ATVG_TOKEN=SECRET atvg
#   docker run --rm -v "$PWD:/work" atvg generate --image FACE.jpg --audio SPEECH.wav --out VIDEO.mp4
FROM python:3.11-slim

ARG ACCELERATOR=cpu
RUN case "$ACCELERATOR" in cpu | cuda) ;; *) echo "ACCELERATOR is cpu or cuda, not $ACCELERATOR" >&2; exit 1 ;; esac

COPY . /src
RUN extras=demo,tts && if [ "$ACCELERATOR" = cuda ]; then extras=$extras,cuda; fi \
    && pip install --no-cache-dir "/src[$extras]" \
    && rm -rf /src \
    && useradd --create-home atvg && mkdir /work && chown atvg /work

USER atvg
WORKDIR /work
EXPOSE 7860
# `docker stop` sends SIGTERM, which ends the program with nothing left unfinished.
ENTRYPOINT ["atvg"]
CMD ["app", "--host", "0.0.0.0"]
