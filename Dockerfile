# The images of PushCluster: docker build --target operator|node-tuning|gateway|logic .
#
# The sources come in as JavaScript: where Node strips the types itself, each process starts a third slower and keeps 30 MB
# more for it. Nothing is bundled, and lines and columns are those of the sources.
ARG NODE_IMAGE=docker.io/library/node:24-trixie-slim
# `node` has no name for it on every base; a number is what Kubernetes can check.
ARG USER_ID=65532

# What npm needs to know, and nothing that changes with every commit.
FROM ${NODE_IMAGE} AS manifests
WORKDIR /app
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

FROM ${NODE_IMAGE} AS javascript
WORKDIR /app
COPY package.json scripts/strip.ts ./
COPY protocol protocol
COPY runtime runtime
COPY gateway gateway
COPY logic logic
COPY operator operator
RUN node --disable-warning=ExperimentalWarning strip.ts /out protocol runtime gateway logic operator

# The engine comes for every platform and Node: one of them is this one's.
FROM manifests AS gateway-modules
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci --omit=dev --workspace gateway --no-audit --no-fund \
 && engine=uws_linux_$(node -p 'process.arch + "_" + process.versions.modules').node \
 && test -e node_modules/uWebSockets.js/$engine \
 && find node_modules/uWebSockets.js -name 'uws_*.node' ! -name $engine -delete \
 && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -delete

FROM manifests AS logic-modules
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci --omit=dev --workspace logic --no-audit --no-fund \
 && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -delete

FROM manifests AS operator-modules
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci --omit=dev --workspace operator --no-audit --no-fund \
 && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -delete

# Node is the first process: it gets the signals itself, and all that it starts are its own children, which it collects.
FROM ${NODE_IMAGE} AS base
ARG USER_ID
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="PushCluster" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /app
ENV NODE_ENV=production
COPY package.json ./
COPY --from=javascript /out/protocol protocol
COPY --from=javascript /out/runtime runtime
USER ${USER_ID}:${USER_ID}

FROM base AS operator
LABEL org.opencontainers.image.title="PushCluster operator" \
      org.opencontainers.image.description="Makes the Kubernetes objects of PushClusters and keeps them so"
COPY --from=operator-modules /app/node_modules node_modules
COPY --from=javascript /out/operator operator
RUN node operator/main.js --help >/dev/null
EXPOSE 9090
# V8 left alone holds four times what it needs while many PushClusters are reconciled.
ENTRYPOINT ["node", "--max-semi-space-size=4", "--heap-growing-percent=50", "operator/main.js"]

# The operator's program beside the one tool that speaks to network cards. As root: kernel settings are root's.
FROM operator AS node-tuning
LABEL org.opencontainers.image.title="PushCluster node tuning" \
      org.opencontainers.image.description="Sets kernel settings of nodes for PushCluster, says so on them, and puts them back"
USER 0:0
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends ethtool >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
 && ethtool --version && node operator/nodetuning/main.js --help >/dev/null
ENTRYPOINT ["node", "operator/nodetuning/main.js"]

FROM base AS gateway
LABEL org.opencontainers.image.title="PushCluster gateway" \
      org.opencontainers.image.description="Holds the connections of PushCluster: merges and encodes once, broadcasts by shards"
COPY --from=gateway-modules /app/node_modules node_modules
COPY --from=sdk /app/client/package.json client/
COPY --from=sdk /app/client/dist/pushcluster.js client/dist/
COPY --from=javascript /out/gateway gateway
# All that it needs is there, or this fails.
RUN node gateway/main.js --help >/dev/null && node -e "import('/app/gateway/shard/shard.js')"
EXPOSE 7777 9090
ENTRYPOINT ["node", "gateway/main.js"]

FROM base AS logic
LABEL org.opencontainers.image.title="PushCluster logic" \
      org.opencontainers.image.description="Takes pushes over HTTP and publishes them on the bus of PushCluster"
COPY --from=logic-modules /app/node_modules node_modules
COPY --from=javascript /out/logic logic
RUN node logic/main.js --help >/dev/null
EXPOSE 7799 9090
ENTRYPOINT ["node", "logic/main.js"]
