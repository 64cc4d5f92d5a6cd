-- Redis's clock, the only one that the workers share.
--
-- Not a script: it is prepended to the scripts that need it.

local function now_in_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
