// What hands do to a view: drag something, or move it with the arrow keys.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

// `begin` takes where a node was pressed, and returns what each move does; nothing where there was nothing to grip.
export function followPointer(node, begin, end) {
  node.addEventListener('pointerdown', (event) => {
    const move = begin(event);
    if (!move) return;
    node.setPointerCapture(event.pointerId);
    node.addEventListener('pointermove', move);
    node.addEventListener('lostpointercapture', () => {
      node.removeEventListener('pointermove', move);
      end();
    }, { once: true });
  });
}

// `act` takes a direction, to the right and up, and how many steps to take: ten with Shift.
export function followArrows(node, act) {
  node.addEventListener('keydown', (event) => {
    const way = ARROWS[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    act(way, event.shiftKey ? 10 : 1);
  });
}
