// How far the maps of a problem reach: where nothing is said of it, they follow the runs.

const ROOM = 0.6, EDGE = 0.08, FAR = 10;

// A frame around the start and every minimum, or around where the runs went.
export function frameOf(all, start, swap) {
  const places = [start, ...all.flatMap(({ facts }) => (facts.landmark ? [facts.landmark.place] : []))];
  const kept = places.length > 1 ? places : [start, ...all.flatMap(({ facts }) => placesOf(facts))];
  return framed((j) => {
    const values = kept.map((place) => place[j]).filter((each) => Math.abs(each - start[j]) < 1e6 * (1 + Math.abs(start[j])));
    const [low, high] = endsOf(values), pad = ROOM * (high - low) || Math.max(1, Math.abs(low));
    return [low - pad, high + pad];
  }, swap);
}

// The same frame, or a wider one where runs that did not diverge leave it: not so wide that it itself is lost.
export function widen(ranges, all, start, swap) {
  const places = [start, ...all.flatMap(({ facts }) => (facts.diverged ? [] : placesOf(facts)))], { x, y } = ranges;
  const wider = framed((j) => {
    const [low, high] = (j === 1) === swap ? x : y, reach = FAR * (high - low);
    const [least, most] = endsOf(places.map((place) => place[j]).filter((each) => each > low - reach && each < high + reach));
    return [least < low ? least - EDGE * (high - least) : low, most > high ? most + EDGE * (most - low) : high];
  }, swap);
  return ['x', 'y'].every((axis) => wider[axis].every((end, k) => end === ranges[axis][k])) ? ranges : wider;
}

const framed = (span, swap) => (swap ? { x: span(1), y: span(0) } : { x: span(0), y: span(1) });
const placesOf = ({ taken, run: { position: p } }) => Array.from({ length: taken + 1 }, (_, k) => [p[2 * k], p[2 * k + 1]]);

function endsOf(values) {
  let low = Infinity, high = -Infinity;
  for (const each of values) [low, high] = [Math.min(low, each), Math.max(high, each)];
  return [low, high];
}
