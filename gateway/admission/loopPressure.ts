/**
 * Pressure is the measured nearness to a limit, 0 to 1. That of memory and descriptors is used / limit. That of an event
 * loop is its delay as a share of the delay that is too long. The delay is measured and not the time that the loop is busy,
 * since a gateway that broadcasts on all of a core is busy by design, and still reads and answers between two slices.
 */
export class LoopPressure {
  #lag = 0;

  /**
   * Takes the longest delay of the last second, milliseconds. One long delay alone (a garbage collection) counts half.
   * @param tooLateMs 0: no delay is too long @returns 0 to 1
   */
  read(lagMs: number, tooLateMs: number): number {
    this.#lag = (this.#lag + lagMs) / 2;
    return tooLateMs === 0 ? 0 : Math.min(1, this.#lag / tooLateMs);
  }
}
