//! What the sandbox says once it is ready: commands to paste.

/// The words for a sandbox with these addresses.
pub(super) fn welcome(grpc: &str, s3: &str, page: &str) -> String {
    // grpcurl writes `&` as \u0026, and sed takes that back: what is printed needs no other tool.
    format!(
        r#"presignd dev: a SANDBOX. It lets in whoever can connect, and its S3 keeps nothing of worth.

  PresignService   {grpc}   (gRPC without TLS, with reflection)
  S3 and STS       {s3}   (embedded; tenants acme and globex, buckets acme-files and globex-files)
  The page         {page}   (upload and download in a browser, and see what is asked and answered)

To try it, tell another terminal how to ask for a URL:

  presign() {{ # presign TENANT COMMAND
    grpcurl -plaintext -d "{{\"tenant\":\"$1\",\"command\":$2,\"reason\":\"a first try\"}}" \
      {grpc} presignd.v1.PresignService/Presign |
      sed -n 's/\\u0026/\&/g; s/.*"url": *"\([^"]*\)".*/\1/p'
  }}

Upload as acme, and download it again:

  echo 'hello from acme' | curl -fsS -T - "$(presign acme '{{"putObject":{{"bucket":"acme-files","key":"hello.txt"}}}}')"
  curl -fsS "$(presign acme '{{"getObject":{{"bucket":"acme-files","key":"hello.txt"}}}}')"

Upload by a form, as a browser would: to this key, of 1 byte to 1 MiB. curl gets its fields in their order:

  form() {{ # form TENANT REQUEST
    grpcurl -plaintext -d "{{\"tenant\":\"$1\",$2}}" {grpc} presignd.v1.PresignService/PresignPost |
      sed -n 's/\\u0026/\&/g; s/^  "url": \("[^"]*"\).*/url = \1/p
        /^      "name": /{{N; s/^ *"name": "\(.*\)",\n *"value": "\(.*\)"$/form-string = "\1=\2"/p}}'
  }}
  echo 'hello by form' | curl -fsS -K <(form acme \
    '"bucket":"acme-files","key":"forms/hello.txt","contentLengthRange":{{"min":1,"max":1048576}}') -F 'file=@-;filename=hello.txt'
  curl -fsS "$(presign acme '{{"getObject":{{"bucket":"acme-files","key":"forms/hello.txt"}}}}')"

Begin an upload in parts: presignd has S3 name it, and the answer has a URL for each part, and those to complete and to abort it:

  grpcurl -plaintext -d '{{"tenant":"acme","create":{{"bucket":"acme-files","key":"large.bin"}},"size":"20000000"}}' \
    {grpc} presignd.v1.PresignService/StartMultipartUpload

Reach for the other tenant: acme's grants here are too wide on purpose, so presignd signs, and S3 refuses, because a URL
carries no more than the permissions of acme's own role:

  curl -sS "$(presign acme '{{"getObject":{{"bucket":"globex-files","key":"hello.txt"}}}}')"

Look around:

  grpcurl -plaintext {grpc} describe presignd.v1.PresignService
  grpcurl -plaintext {grpc} describe presignd.s3.v1.GetObject

Every decision is one JSON line on standard output. Ctrl-C stops the sandbox.
"#
    )
}
