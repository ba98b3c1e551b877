"""What HAProxy does by a script of ours: copies of requests for mirrors, pauses before another try, and headers of one connection that a
client names itself."""

from __future__ import annotations

FILE = "pilothouse.lua"
#: A copy's method, as a header for the front that takes copies.
METHOD = "x-pilothouse-method"
#: Bytes of a request that are held where there are mirrors, and of a body without a length that are surely all of it.
BUFFER = 256 * 1024
LONGEST = 224 * 1024

SCRIPT = """
local own = { ["connection"] = true, ["transfer-encoding"] = true, ["content-length"] = true, ["upgrade"] = true, ["expect"] = true,
  ["keep-alive"] = true, ["te"] = true, ["proxy-connection"] = true }

-- RFC 9110, section 7.6.1: what Connection names goes no further than it does
core.register_action("hop", { "http-req" }, function(txn)
  local upgrade = false
  for _, value in pairs(txn.http:req_get_headers()["connection"] or {}) do
    for name in string.gmatch(string.lower(value), "[^%s,]+") do
      if name == "upgrade" then upgrade = true end
      if not own[name] and name ~= "host" and name ~= "close" then txn.http:req_del_header(name) end
    end
  end
  txn.http:req_del_header("connection")
  if upgrade then txn.http:req_set_header("connection", "upgrade") end
end, 0)

core.register_action("wait", { "http-req" }, function(txn, milliseconds)
  core.msleep(tonumber(milliseconds))
end, 1)

-- a body that may be longer than what is here is not copied: better no copy than half of one
core.register_action("mirror", { "http-req" }, function(txn, socket)
  local method = string.lower(txn.sf:method())
  local headers, given = {}, txn.http:req_get_headers()
  local body = txn.sf:req_body() or ""
  local length = given["content-length"]
  if length and tonumber(length[0]) ~= #body then return end
  if not length and #body > {longest} then return end
  for name, values in pairs(given) do
    if not own[name] then
      local list = {}
      for _, value in pairs(values) do list[#list + 1] = value end
      headers[name] = list
    end
  end
  if given["te"] then headers["te"] = { "trailers" } end
  headers["{method}"] = { txn.sf:method() }  -- HAProxy's client knows five methods only
  headers["connection"] = { "close" }  -- HAProxy's client would use a connection to another mirror's socket again
  local request = { url = "http://mirror" .. txn.sf:pathq(), headers = headers, dst = socket }
  if #body > 0 then request.body = body end
  core.register_task(function()
    local client = core.httpclient()
    local call = client[method] or (#body > 0 and client.post or client.get)
    call(client, request)
  end)
end, 1)
""".replace("{longest}", str(LONGEST)).replace("{method}", METHOD)
