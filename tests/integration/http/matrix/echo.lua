-- SPDX-License-Identifier: Apache-2.0
-- Run by Apache: what was sent comes back, with what shows how it arrived.
function handle(r)
  r.content_type = "application/octet-stream"
  r.headers_out["X-Method"] = r.method
  r.headers_out["X-Uri"] = r.unparsed_uri
  r.headers_out["X-Host"] = r.headers_in["Host"]
  r:write(r:requestbody() or "")
  return apache2.OK
end

-- An answer of unknown length, in pieces.
function parts(r)
  r.content_type = "text/plain"
  for number = 1, 50 do
    r:write(string.rep(tostring(number), number * 7))
    r:flush()
  end
  return apache2.OK
end
