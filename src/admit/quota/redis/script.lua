-- Charges, refunds and levels of counts, all of one call at once. `admit/quota/arithmetic.rs` says the same in Rust.
--
-- KEYS: the counts, all in one slot.
-- ARGV[1]: `charge`, `refund` or `levels`.
-- ARGV[2]: microseconds that are added to the server's time. Only tests set it; it is 0.
-- Then six numbers for each count:
--   start, stop  of its window, in microseconds since 1970; of a rate, how much drains away in a microsecond, negative, and 0
--   cost, room   how much is wanted, and how much there may be
--   extra        how much is taken besides, if there is room for it
--   shadow       1: a refusal is only noted
-- The cost and room of a rate are time, and what is used drains away as it passes.
--
-- The answer: the time, then
--   -1                        nothing was done: it is not the time of these windows
--   i > 0, used               nothing was done: count i has no room; used is how much of it is
--   0, then used, flag each   done; flag is 1 where the extra was taken too, 2 where a shadow would have refused
--
-- Invariant: every number is whole and below 2^53, where doubles are exact, or is only compared with one that is. `tostring` would
-- round at 14 digits: hence the formats.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[2])
local action = ARGV[1]
local counts = {}

for i, key in ipairs(KEYS) do
  local first = 2 + (i - 1) * 6
  local count = {
    start = tonumber(ARGV[first + 1]),
    stop = tonumber(ARGV[first + 2]),
    cost = tonumber(ARGV[first + 3]),
    room = tonumber(ARGV[first + 4]),
    extra = tonumber(ARGV[first + 5]),
    used = 0,
    at = now,
    flag = 0,
  }
  local rate = count.start < 0
  if not rate and (now < count.start or now >= count.stop) then
    return { now, -1 }
  end
  local held = redis.call('GET', key)
  if held then
    local used, at = string.match(held, '^(%d+) (%d+)$')
    if used then
      count.used = tonumber(used)
      -- Time that went back drains nothing until it has caught up.
      count.at = math.max(tonumber(at), now)
      if rate and now > tonumber(at) then
        count.used = math.max(0, count.used + (now - tonumber(at)) * count.start)
      end
    end
  end
  if action == 'charge' and count.used + count.cost > count.room then
    if ARGV[first + 6] ~= '1' then
      return { now, i, count.used }
    end
    count.flag = 2
  end
  counts[i] = count
end

local answer = { now, 0 }
for i, key in ipairs(KEYS) do
  local count = counts[i]
  local before = count.used
  if action == 'charge' and count.flag == 0 then
    count.used = count.used + count.cost
    if count.extra > 0 and count.used + count.extra <= count.room then
      count.used = count.used + count.extra
      count.flag = 1
    end
  elseif action == 'refund' then
    count.used = math.max(0, count.used - count.cost)
  end
  if count.used ~= before then
    -- Kept until it says nothing any more, and a second longer.
    local left = count.start < 0 and count.used / -count.start or count.stop - now
    local life = math.ceil(left / 1000) + 1000
    redis.call('SET', key, string.format('%.0f %.0f', count.used, count.at), 'PX', string.format('%.0f', life))
  end
  answer[#answer + 1] = count.used
  answer[#answer + 1] = count.flag
end
return answer
