-- Adds posts to the timelines of many readers, where they exist. Never creates one.
-- KEYS[1] the prefix of the keys; KEYS[2] the reign under which the timelines of all others were swept away, if that is known
-- ARGV deadline (unix ms, 0: none), then for each post its id and its readers ('1,2,3')
-- That a key exists proves its reign only once it is swept; before, each mark is looked at, which costs half as much again.
-- Returns for each post how many of its readers have a timeline (not how many were changed: a second run says the same),
-- or nothing if late.

if late(ARGV[1]) then return false end
local prefix, swept = prefix(), KEYS[2] and call('GET', KEYS[2]) == reign
local delivered = {}
for argument = 2, #ARGV, 2 do
  local id, found = ARGV[argument], 0
  for reader in string.gmatch(ARGV[argument + 1], '%d+') do
    local key = key_of(prefix, reader)
    if swept or mark_of(key) then
      local length = call('LPUSHX', key, id)
      if length > 0 then
        found = found + 1
        if length % every == 0 then
          tidy(key)
          trim(key)
        end
      end
    end
  end
  delivered[#delivered + 1] = found
end
return delivered
