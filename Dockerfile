# Martlet in a container. `scripts/docker-check` runs these very steps without a Docker engine.
#
#   docker build -t martlet .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp \
#       -v martlet:/var/lib/martlet -p 127.0.0.1:7700:7700 \
#       -e MARTLET_LISTENER_ALLOW_ANONYMOUS=true martlet
#
# There is no authentication yet. In a container the listener must be open to be reached at all, so
# the image starts only after you said that this is what you want: MARTLET_LISTENER_ALLOW_ANONYMOUS.
# The admin listener (/metrics, /healthz, /readyz) stays inside the container unless
# MARTLET_ADMIN_LISTEN=0.0.0.0:7701 and MARTLET_ADMIN_ALLOW_ANONYMOUS=true open it.

FROM swift:6.3-bookworm AS build
WORKDIR /src
COPY Package.swift ./
COPY Sources Sources
COPY Tests Tests
COPY examples examples
RUN swift build -c release --static-swift-stdlib --product martletd
RUN swift build -c release --static-swift-stdlib --product martlet

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgcc-s1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/martlet
COPY --from=build /src/.build/release/martletd /usr/bin/martletd
COPY --from=build /src/.build/release/martlet /usr/bin/martlet
COPY config/martlet.conf /etc/martlet/martlet.conf
ENV MARTLET_LISTENER_LISTEN=0.0.0.0:7700
USER 10001:10001
WORKDIR /var/lib/martlet
VOLUME ["/var/lib/martlet"]
EXPOSE 7700 7701
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/bin/martlet", "status"]
ENTRYPOINT ["/usr/bin/martletd"]
CMD ["--config", "/etc/martlet/martlet.conf", "--data", "/var/lib/martlet"]
