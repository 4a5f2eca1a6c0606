# SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
# SPDX-License-Identifier: Apache-2.0
# For those who build with Docker or BuildKit: docker buildx build --platform linux/amd64,linux/arm64 .
# `make image` needs neither.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH LDFLAGS
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd/manager cmd/manager
COPY controllers controllers
COPY internal internal
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags="-s -w $LDFLAGS" -o /manager ./cmd/manager

FROM gcr.io/distroless/static:nonroot
COPY --from=build /manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
