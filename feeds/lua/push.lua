-- Adds one post to the timelines of many readers, where they exist. Never creates one.
-- KEYS[1] the prefix of the keys    ARGV deadline (unix ms, 0: none), post id, limit, slack, every, readers ('1,2,3')
-- Looks whether a timeline must be trimmed for one post in `every` only, since that costs a third of a push: the id's
-- sequence number decides. Meanwhile a timeline is a little longer than the slack; readers cut it at the limit anyway.
-- Returns how many of the readers have a timeline (not how many were changed: a second run says the same), -1 if late.

if late(ARGV[1]) then return -1 end
local prefix, id, limit = KEYS[1], ARGV[2], tonumber(ARGV[3])
local most = limit + ARGV[4] + 1
local score = '-' .. id
local place = tonumber(score)
local housekeeping = (id / 32) % ARGV[5] == 0
local delivered = 0
for reader in string.gmatch(ARGV[6], '%d+') do
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
return delivered
