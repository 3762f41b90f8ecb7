// How far the maps of a problem reach.

// A frame around the start and every minimum, or around where the runs went.
export function frameOf(all, start, swap) {
  const places = [start, ...all.flatMap(({ facts }) => (facts.landmark ? [facts.landmark.place] : []))];
  if (places.length === 1) for (const { facts } of all) for (let k = 0; k <= facts.taken; k++) places.push([facts.run.position[2 * k], facts.run.position[2 * k + 1]]);
  const span = (j) => {
    const values = places.map((place) => place[j]).filter((each) => Math.abs(each - start[j]) < 1e6 * (1 + Math.abs(start[j])));
    const low = Math.min(...values), high = Math.max(...values), pad = 0.6 * (high - low) || Math.max(1, Math.abs(low));
    return [low - pad, high + pad];
  };
  return swap ? { x: span(1), y: span(0) } : { x: span(0), y: span(1) };
}
