-- Takes one post out of the timelines of many readers. Needs no deadline: a dead post stays dead.
-- KEYS[1] the prefix of the keys    ARGV post id, readers ('1,2,3')
-- Returns how many timelines exist.

local found = 0
for reader in string.gmatch(ARGV[2], '%d+') do
  local key = key_of(KEYS[1], reader)
  call('ZREM', key, ARGV[1])
  found = found + call('EXISTS', key)
end
return found
