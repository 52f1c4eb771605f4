# syntax=docker/dockerfile:1
# presignd for production: without the sandbox of `presignd dev`, not root, nothing beside the binary but libc and CA certificates.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --no-default-features \
    && cp target/release/presignd /presignd

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /presignd /usr/local/bin/presignd
COPY LICENSE /usr/share/doc/presignd/LICENSE
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 50051
ENTRYPOINT ["/usr/local/bin/presignd"]
CMD ["serve", "--config", "/etc/presignd/presignd.yaml"]
