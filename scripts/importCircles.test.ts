import assert from 'node:assert/strict';
import { test } from 'node:test';
import { importCircles } from './importCircles.ts';

const graph = (edges: Record<string, string[]>) => new Map(Object.entries(edges));

test('a graph without circles has none, however often a file is imported', () => {
  assert.deepEqual(importCircles(graph({ a: ['b', 'c'], b: ['c', 'd'], c: ['d'], d: [] })), []);
});

test('two files that import each other are a circle, and a file that imports itself', () => {
  assert.deepEqual(importCircles(graph({ b: ['a'], a: ['b', 'c'], c: ['c'] })), [['a', 'b'], ['c']]);
});

test('of a group of files that reach one another the shortest circle is told, once', () => {
  const edges = { a: ['b'], b: ['c'], c: ['d', 'a'], d: ['a', 'c'], e: ['a'] };
  assert.deepEqual(importCircles(graph(edges)), [['a', 'b', 'c']]);
});

test('circles apart are told apart', () => {
  assert.deepEqual(importCircles(graph({ a: ['b'], b: ['a', 'x'], x: ['y'], y: ['x'] })), [
    ['a', 'b'],
    ['x', 'y'],
  ]);
});
