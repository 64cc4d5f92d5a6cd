"""Scripts run with another `redis` than the one that Redis gives them."""

import pytest

from marketstate.worker.store import scripts

NUMBERS_ARE_REFUSED = """
local redis = setmetatable({}, {__index = redis})
for _, name in ipairs({'call', 'pcall'}) do
  local really = getmetatable(redis).__index[name]
  redis[name] = function(command, ...)
    for i = 1, select('#', ...) do
      local argument = select(i, ...)
      if type(argument) == 'number' then
        error(command .. ' was given the number ' .. argument .. ' and not its text')
      end
    end
    return really(command, ...)
  end
end
"""
"""As if every number were one that Redis 7.2.4 garbles."""

NOBODY_HAS_WHAT_THE_CONSUMER_NOBODY_HAS = """
local redis = setmetatable({}, {__index = redis})
function redis.call(command, ...)
  local reply = getmetatable(redis).__index.call(command, ...)
  if command ~= 'XPENDING' then return reply end
  if select('#', ...) > 2 then
    for _, row in ipairs(reply) do
      if row[2] == 'nobody' then row[2] = '' end
    end
  else
    local consumers = {}
    for _, pair in ipairs(reply[4] or {}) do
      if pair[1] ~= 'nobody' then table.insert(consumers, pair) end
    end
    reply[4] = consumers
  end
  return reply
end
"""
"""XPENDING as Redis 8.8 answers after XNACK: entries without a consumer count in the sum, are of no
consumer of the summary, and have an empty name in the list.
"""


def put_before_every_script(
    monkeypatch: pytest.MonkeyPatch, shim: str, but: tuple[str, ...] = ()
) -> None:
    """Those of clients that are opened from now on."""
    source = scripts._source

    def with_shim(*names: str) -> str:
        return source(*names) if set(names) & set(but) else shim + source(*names)

    monkeypatch.setattr(scripts, "_source", with_shim)
