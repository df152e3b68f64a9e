-- Drops those of these timelines that are of another reign.
-- KEYS the timelines    Returns the reign.

for _, key in ipairs(KEYS) do mark_of(key) end
return reign
