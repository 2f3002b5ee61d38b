// What is asked for often is done at most once in a while, and never twice at a time.

/**
 * Returns a function that has `action` done soon; `.now()` has it done at once, `.stop()` ends all.
 * A page that nobody sees asks when it is seen again.
 */
export function throttled(action, pauseMs) {
  let timer = null;
  let isRunning = false;
  let isWanted = false;
  let isUrgent = false;
  let isStopped = false;

  async function run() {
    clearTimeout(timer);
    timer = null;
    isWanted = isUrgent = false;
    isRunning = true;
    try {
      await action();
    } finally {
      isRunning = false;
      if (!isStopped) timer = setTimeout(rested, isUrgent ? 0 : pauseMs);
    }
  }

  function rested() {
    timer = null;
    if (isWanted && (isUrgent || !document.hidden)) run();
  }

  function wish() {
    if (isStopped) return;
    if (isRunning || timer !== null || document.hidden) isWanted = true;
    else run();
  }

  function now() {
    if (isStopped) return;
    if (isRunning) isWanted = isUrgent = true;
    else run();
  }

  const seen = () => timer === null && !isRunning && rested();
  document.addEventListener("visibilitychange", seen);
  const stop = () => {
    isStopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
  return Object.assign(wish, { now, stop });
}
