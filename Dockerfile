# The broker's image: `docker build -t pgbroker .`
ARG PYTHON_IMAGE=python:3.13.9-slim-bookworm

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
# tested, and it names the service, not this address. A proxy, which Docker sets for all containers
# from its client's configuration, knows nothing of either.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-c", "\
import os, ssl; \
from urllib.request import HTTPSHandler, ProxyHandler, build_opener; \
scheme = 'https' if 'PGBROKER_TLS_CERT_FILE' in os.environ else 'http'; \
url = scheme + '://' + os.environ['PGBROKER_BIND'] + '/healthz'; \
tls = HTTPSHandler(context=ssl._create_unverified_context()); \
build_opener(ProxyHandler({}), tls).open(url, timeout=4)"]
ENTRYPOINT ["pgbroker"]
CMD ["serve"]
