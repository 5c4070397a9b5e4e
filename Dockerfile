# The images of PushCluster: docker build --target operator|node-tuning|gateway|logic .
#
# The sources come in as JavaScript: where Node strips the types itself, each process starts a third slower and keeps 30 MB
# more for it. Nothing is bundled, and lines and columns are those of the sources.
#
# For amd64 and arm64: what runs while it is built runs on the builder's own processor, and the image's own stages only
# copy, so that neither needs the other's or an emulator.
#
# NODE_IMAGE is a Debian with Node and npm. It builds; the images take Node and its libraries from it, and nothing else. To
# publish, name it by its digest (docs/contributing/releasing.md).
ARG NODE_IMAGE=docker.io/library/node:24-trixie-slim
# `node` has no name for it on every base; a number is what Kubernetes can check.
ARG USER_ID=65532

# What npm needs to know, and nothing that changes with every commit.
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS manifests
WORKDIR /app
# A dependency of swagger-ui-dist reports each installation to its makers unless told not to.
ENV SCARF_ANALYTICS=false
COPY package.json package-lock.json ./
COPY protocol/package.json protocol/
COPY runtime/package.json runtime/
COPY gateway/package.json gateway/
COPY logic/package.json logic/
COPY operator/package.json operator/
COPY standalone/package.json standalone/
COPY client/package.json client/
COPY test/package.json test/

# The SDK as the gateway's test console serves it.
FROM manifests AS sdk
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci --workspace client --workspace protocol --no-audit --no-fund
COPY protocol protocol
COPY client client
RUN mkdir -p client/dist \
 && node -e "import('./client/bundle.ts').then(async ({ bundle }) => fs.writeFileSync('client/dist/pushcluster.js', await bundle()))"

FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS javascript
WORKDIR /app
COPY package.json scripts/strip.ts ./
COPY protocol protocol
COPY runtime runtime
COPY gateway gateway
COPY logic logic
COPY operator operator
RUN node --disable-warning=ExperimentalWarning strip.ts /out protocol runtime gateway logic operator

# The engine comes for every platform and Node: the builder's own is tried, the image's stays.
FROM manifests AS gateway-modules
ARG TARGETARCH
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci --omit=dev --workspace gateway --no-audit --no-fund \
 && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -delete
COPY --from=javascript /out/protocol protocol
COPY --from=javascript /out/runtime runtime
COPY --from=javascript /out/gateway gateway
COPY --from=sdk /app/client/package.json client/
COPY --from=sdk /app/client/dist/pushcluster.js client/dist/
# All that it needs is there, or this fails.
RUN node gateway/main.js --help >/dev/null && node -e "import('/app/gateway/shard/shard.js')" \
 && case "$TARGETARCH" in amd64) arch=x64 ;; arm64) arch=arm64 ;; *) echo "for amd64 or arm64, not for \"$TARGETARCH\"" >&2; exit 1 ;; esac \
 && engine=uws_linux_${arch}_$(node -p process.versions.modules).node \
 && test -e node_modules/uWebSockets.js/$engine \
 && find node_modules/uWebSockets.js -name 'uws_*.node' ! -name $engine -delete

# Of Swagger UI, only what the page of the API loads, and the licences.
FROM manifests AS logic-modules
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci --omit=dev --workspace logic --no-audit --no-fund \
 && rm -rf node_modules/@scarf \
 && find node_modules/swagger-ui-dist -type f ! -name package.json ! -name swagger-ui-bundle.js ! -name swagger-ui.css \
      ! -name LICENSE ! -name NOTICE ! -name swagger-ui-bundle.js.LICENSE.txt -delete \
 && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -delete
COPY --from=javascript /out/protocol protocol
COPY --from=javascript /out/runtime runtime
COPY --from=javascript /out/logic logic
# All that it needs is there, or this fails.
RUN node logic/main.js --help >/dev/null \
 && node -e "import('/app/logic/apiReference/pageFiles.js').then((m) => Promise.all([...m.pageFiles().values()].map((file) => file.read())))"

# Some of its modules bring binaries for another JavaScript runtime, of every platform.
FROM manifests AS operator-modules
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci --omit=dev --workspace operator --no-audit --no-fund \
 && rm -rf node_modules/bare-*/prebuilds \
 && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -delete
COPY --from=javascript /out/protocol protocol
COPY --from=javascript /out/runtime runtime
COPY --from=javascript /out/operator operator
COPY charts/pushcluster/dashboards charts/pushcluster/dashboards
COPY charts/pushcluster/rules charts/pushcluster/rules
# All that it needs is there, or this fails.
RUN node operator/main.js --help >/dev/null && node operator/nodetuning/main.js --help >/dev/null \
 && node -e "import('/app/operator/pushcluster/desired/dashboards.js').then((m) => m.dashboardTexts())" \
 && node -e "import('/app/operator/pushcluster/desired/alerts.js').then((m) => m.alertsText())"

# Debian's packages, taken out and not installed: nothing of the image's processor runs. What scanners look for is beside them.
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS ethtool
ARG TARGETARCH
WORKDIR /debs
RUN dpkg --add-architecture "$TARGETARCH" && apt-get update -qq \
 && apt-get download -qq -o APT::Sandbox::User=root "ethtool:$TARGETARCH" "libmnl0:$TARGETARCH" \
 && mkdir -p /out/var/lib/dpkg/status.d \
 && for deb in *.deb; do \
      dpkg-deb -x "$deb" /out && dpkg-deb -f "$deb" >"/out/var/lib/dpkg/status.d/$(dpkg-deb -f "$deb" Package)" || exit 1; \
    done \
 && test -x /out/usr/sbin/ethtool

# An older buildah takes the builder's platform where this one is not named.
FROM --platform=$TARGETPLATFORM ${NODE_IMAGE} AS node
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS system
COPY scripts/system-files.sh /
RUN --mount=type=bind,from=node,target=/node /system-files.sh /node /out

# Kubernetes asks for it, and asks often: a Node each time would cost more than the node tuning itself.
FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS probe
RUN --mount=type=bind,from=node,target=/node mkdir -p /out/usr/bin && cp /node/usr/bin/test /out/usr/bin/

# Node is the first process: it gets the signals itself, and all that it starts are its own children, which it collects.
# There is no shell, no package manager and no npm.
FROM scratch AS empty
COPY --from=system /out /

FROM empty AS base
ARG USER_ID
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="PushCluster" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin
ENV NODE_ENV=production
WORKDIR /app
COPY package.json ./
COPY --from=javascript /out/protocol protocol
COPY --from=javascript /out/runtime runtime
USER ${USER_ID}:${USER_ID}

FROM base AS operator
LABEL org.opencontainers.image.title="PushCluster operator" \
      org.opencontainers.image.description="Makes the Kubernetes objects of PushClusters and keeps them so"
COPY --from=operator-modules /app/node_modules node_modules
COPY --from=javascript /out/operator operator
# For the alerts and dashboards of a single PushCluster.
COPY charts/pushcluster/dashboards charts/pushcluster/dashboards
COPY charts/pushcluster/rules charts/pushcluster/rules
EXPOSE 9090
# V8 left alone holds four times what it needs while many PushClusters are reconciled.
ENTRYPOINT ["node", "--max-semi-space-size=2", "--heap-growing-percent=20", "--optimize-for-size", "operator/main.js"]

# The operator's program beside the one tool that speaks to network cards. As root: kernel settings are root's.
FROM operator AS node-tuning
LABEL org.opencontainers.image.title="PushCluster node tuning" \
      org.opencontainers.image.description="Sets kernel settings of nodes for PushCluster, says so on them, and puts them back"
USER 0:0
COPY --from=ethtool /out /
COPY --from=probe /out /
ENTRYPOINT ["node", "operator/nodetuning/main.js"]

FROM base AS gateway
LABEL org.opencontainers.image.title="PushCluster gateway" \
      org.opencontainers.image.description="Holds the connections of PushCluster: merges and encodes once, broadcasts by shards"
COPY --from=gateway-modules /app/node_modules node_modules
COPY --from=sdk /app/client/package.json client/
COPY --from=sdk /app/client/dist/pushcluster.js client/dist/
COPY --from=javascript /out/gateway gateway
EXPOSE 7777 9090
ENTRYPOINT ["node", "gateway/main.js"]

FROM base AS logic
LABEL org.opencontainers.image.title="PushCluster logic" \
      org.opencontainers.image.description="Takes pushes over HTTP and publishes them on the bus of PushCluster"
COPY --from=logic-modules /app/node_modules node_modules
COPY --from=javascript /out/logic logic
EXPOSE 7799 9090
# Nearly all that a request leaves behind is garbage at once. V8's default would let up to 96 MiB of it gather.
ENTRYPOINT ["node", "--max-semi-space-size=4", "logic/main.js"]
