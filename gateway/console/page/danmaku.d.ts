// `/danmaku.js` is the package's module for browsers: its own types describe the one for bundlers. What is used of it:
export default class Danmaku {
  constructor(options: { container: HTMLElement; engine: 'dom'; speed: number });
  emit(comment: { text: string; style: { color: string } }): this;
  clear(): this;
  resize(): this;
  destroy(): this;
}
