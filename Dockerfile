# The broker's image: `docker build -t pgbroker .`
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/pgbroker
# Before the sources, so that a change of the code does not install the dependencies again.
COPY requirements/runtime.txt requirements/
RUN pip --python /opt/pgbroker/bin/python install --require-hashes --only-binary :all: \
        --requirement requirements/runtime.txt
COPY . .
# The build backend comes from the lock, too.
RUN PIP_BUILD_CONSTRAINT=requirements/dev.txt \
    pip --python /opt/pgbroker/bin/python install --no-deps .

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="pgbroker" \
      org.opencontainers.image.description="An Open Service Broker for PostgreSQL" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/pgbroker /opt/pgbroker
ENV PATH=/opt/pgbroker/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PGBROKER_BIND=0.0.0.0:8080
# Any other user works as well: nothing is written, and everything can be read by group 0.
USER 10001:0
EXPOSE 8080
# To connect to 0.0.0.0 or [::] is to connect to this container. The certificate is not what is
# tested, and it names the service, not this address.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-c", "\
import os, ssl, urllib.request; \
scheme = 'https' if 'PGBROKER_TLS_CERT_FILE' in os.environ else 'http'; \
url = scheme + '://' + os.environ['PGBROKER_BIND'] + '/healthz'; \
urllib.request.urlopen(url, timeout=4, context=ssl._create_unverified_context())"]
ENTRYPOINT ["pgbroker"]
CMD ["serve"]
