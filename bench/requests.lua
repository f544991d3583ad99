-- For wrk: sends each line of a file once, and begins anew at the end. A line is a path, a header and a body, separated
-- by tabs.
--
--   wrk … -s requests.lua URL -- FILE THREADS [MILLISECONDS]
--
-- MILLISECONDS is how long each connection waits between two requests, on average; the waits are as those of many people
-- who know nothing of one another. Without it no connection waits.

local threads = 0

function setup(thread)
    thread:set("number", threads)
    threads = threads + 1
end

function init(arguments)
    local total = tonumber(arguments[2])
    pause = tonumber(arguments[3] or "0")
    math.randomseed(number + 1)
    requests, at = {}, 0
    local line_number = 0
    for line in io.lines(arguments[1]) do
        if line_number % total == number then
            local path, name, value, body = line:match("^([^\t]*)\t([^:\t]*): ([^\t]*)\t(.*)$")
            local headers = { [name] = value, ["content-type"] = "application/json" }
            requests[#requests + 1] = wrk.format("POST", path, headers, body)
        end
        line_number = line_number + 1
    end
    if pause <= 0 then
        delay = nil
    end
end

function delay()
    return math.floor(-pause * math.log(1 - math.random()) + 0.5)
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
