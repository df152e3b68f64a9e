-- Takes many posts out of the timelines of many readers: an account is deleted. A dead post stays dead: no deadline.
-- KEYS[1] the prefix of the keys    ARGV post ids ('1,2,3'), readers ('1,2,3')
-- Reads each timeline once, whatever the number of posts. Returns how many entries went, in a list.

local prefix, posts, gone = prefix(), {}, 0
for id in string.gmatch(ARGV[1], '%d+') do posts[id] = true end
for reader in string.gmatch(ARGV[2], '%d+') do
  local key = key_of(prefix, reader)
  local mark = mark_of(key)
  local here = {}
  if mark then
    for _, id in ipairs(call('LRANGE', key, 0, -2)) do
      if posts[id] then here[#here + 1] = id end
    end
  end
  for _, id in ipairs(here) do gone = gone + call('LREM', key, 1, id) end
  if #here > 0 and cover_of(mark) then tidy(key) end
end
return {gone}
