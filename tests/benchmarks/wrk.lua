-- One POST with a fixed body (REQUEST names its file, HEADERS a file of "name: value" lines); results as JSON.
wrk.method = "POST"
wrk.body = assert(io.open(os.getenv("REQUEST"), "rb")):read("*a")
for line in io.lines(os.getenv("HEADERS")) do
  local name, value = line:match("^(.-): (.*)$")
  wrk.headers[name] = value
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "errors": %d, "seconds": %.6f, "total_p50": %d, "total_p99": %d}\n',
    summary.requests - e.status, e.connect + e.read + e.write + e.status + e.timeout, summary.duration / 1e6,
    latency:percentile(50), latency:percentile(99)))
end
