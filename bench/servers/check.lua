-- Sends one body again and again and checks every answer. What it needs is set above by load.py:
-- BODY, HEADERS, CONTEXT (text before the number), NUMBER (its text), AFTER, EXPECTED, TOLERANCE, MUST.
wrk.method = "POST"
wrk.body = BODY
for name, value in pairs(HEADERS) do
  wrk.headers[name] = value
end

local threads = {}
local find, sub, match = string.find, string.sub, string.match
local usual = CONTEXT .. NUMBER .. AFTER

bad_status, bad_answers, answers = 0, 0, 0
first_bad = ""

function setup(thread)
  table.insert(threads, thread)
end

local function right(body)
  if MUST ~= "" and not find(body, MUST, 1, true) then
    return false
  end
  if find(body, usual, 1, true) then
    return true
  end
  -- Another last bit, or another way to write it: near enough is right.
  local _, last = find(body, CONTEXT, 1, true)
  local number = last and tonumber(match(sub(body, last + 1), "^[%d.eE+-]+"))
  return number ~= nil and math.abs(number - EXPECTED) <= TOLERANCE
end

function response(status, headers, body)
  answers = answers + 1
  if status ~= 200 then
    bad_status = bad_status + 1
  elseif not right(body) then
    bad_answers = bad_answers + 1
  else
    return
  end
  if first_bad == "" then
    first_bad = status .. " " .. sub(body, 1, 200)
  end
end

function done(summary, latency, requests)
  local statuses, wrong, checked, example = 0, 0, 0, ""
  for _, thread in ipairs(threads) do
    statuses = statuses + thread:get("bad_status")
    wrong = wrong + thread:get("bad_answers")
    checked = checked + thread:get("answers")
    if example == "" then
      example = thread:get("first_bad")
    end
  end
  local failed = summary.errors
  io.write(string.format(
    "\nRESULT requests=%d duration_us=%d p50_us=%d p99_us=%d max_us=%d checked=%d bad_status=%d "
      .. "bad_answers=%d connect=%d read=%d write=%d timeout=%d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, checked, statuses, wrong, failed.connect, failed.read, failed.write,
    failed.timeout
  ))
  if example ~= "" then
    io.write("EXAMPLE " .. string.gsub(example, "%s+", " ") .. "\n")
  end
end
