# gusset in an image: the binary, the C library it is linked with, the certificates of the world; no shell, no root.
#
#   docker build -t gusset .
#
# Where no registry can be reached, or the binary is there already, nothing is compiled:
#
#   cargo build --release
#   docker build -t gusset --build-arg RUST_IMAGE=debian:bookworm-slim --build-arg GUSSET_BINARY=target/release/gusset .
#
# RUST_IMAGE then only needs a shell. The C library of RUN_IMAGE must not be older than the one the binary was linked with.
ARG RUST_IMAGE=rust:1-slim-bookworm
ARG RUN_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
ARG GUSSET_BINARY=
WORKDIR /src
COPY . .
RUN if [ -z "$GUSSET_BINARY" ]; then \
        cargo build --release --locked --bin gusset && GUSSET_BINARY=target/release/gusset; \
    fi && \
    cp "$GUSSET_BINARY" /gusset && chmod 755 /gusset

FROM ${RUN_IMAGE}
COPY --from=build /gusset /usr/local/bin/gusset
# Nothing is ever written: the cookie is given by RELEASE_COOKIE or a file. The ports are that of EPMD and the fixed one below.
ENV ERL_DIST_PORT=9100
USER 65532:65532
EXPOSE 4369 9100
ENTRYPOINT ["/usr/local/bin/gusset"]
CMD ["run"]
