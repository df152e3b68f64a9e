-- Adds many posts, each to the timelines of its own readers, where they exist: push.lua, once for each pair.
-- KEYS[1] the prefix of the keys    ARGV deadline (unix ms, 0: none), limit, slack, every, then post id, readers ('1,2,3'), ...
-- Returns for each pair how many of its readers have a timeline; -1 if late.

if late(ARGV[1]) then return -1 end
local prefix, limit, every = KEYS[1], tonumber(ARGV[2]), ARGV[4]
local most = limit + ARGV[3] + 1
local counts = {}
for pair = 5, #ARGV, 2 do
  local id = ARGV[pair]
  local score = '-' .. id
  local place = tonumber(score)
  local housekeeping = (id / 32) % every == 0
  local delivered = 0
  for reader in string.gmatch(ARGV[pair + 1], '%d+') do
    local key = key_of(prefix, reader)
    local last = call('ZRANGE', key, -1, -1, 'WITHSCORES')
    local mark = last[1]
    if mark == built then
      delivered = delivered + 1
      if place < tonumber(last[2]) then
        call('ZADD', key, score, id)
        if housekeeping and call('ZCARD', key) > most then trim(key, limit) end
      end
    elseif mark and string.sub(mark, 1, 2) == 'b:' and string.sub(mark, -12) == reign then
      delivered = delivered + 1
      call('ZADD', key, score, id)
    elseif mark then
      call('UNLINK', key)
    end
  end
  counts[#counts + 1] = delivered
end
return counts
